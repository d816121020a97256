"""Checks: verify, diff, compare, overlap, seal, contains, bisect, reproduce.

They return reports, which are frozen values; a mismatch is a value in a report and never an exception. Nothing is
written unless the caller asked for exactly that (a verdict on the run, a folder to reproduce into, the local index
of manifests, which is a cache). Reports are turned into text, JSON, JUnit and Markdown by pure functions in
`render_text`, `render_json`, `render_junit` and `render_markdown`.
"""
