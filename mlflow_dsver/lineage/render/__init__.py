"""The lineage graph for people: HTML, SVG, Markdown, JSON."""
