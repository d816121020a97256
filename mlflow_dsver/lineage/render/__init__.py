"""Renderers of the lineage graph: HTML, SVG, Markdown, JSON."""
