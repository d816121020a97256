"""What commands need to write to a terminal, for this package's commands and for those that providers bring.

`output` has `emit`, `complain`, the option `--json` and a progress bar, `render` makes tables, fields and lines from
values, and `services` is what the command line lends to a provider's commands.
"""
