"""Terminal output for this package's commands and those of providers."""
