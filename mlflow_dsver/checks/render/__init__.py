"""Reports of checks for people and programs: text, JSON, JUnit XML, Markdown, a README."""
