"""Checks: verify, diff, compare, overlap, seal, contains, bisect, reproduce.

Each check returns a report, a frozen value; a mismatch is a finding in the report and never an exception. Nothing is
written unless the caller requests it (the verdict tag, a folder to reproduce into), except for the local index of
manifests, which is a cache. The pure functions in `checks.render` turn reports of `verify` into text, JSON, JUnit and
Markdown; the other checks have a function for lines of text and one for JSON beside them.
"""
