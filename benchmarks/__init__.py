"""How long hashing and versioning take, beside what others take and what the machine can do.

`python -m benchmarks` runs it.
"""
