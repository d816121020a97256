"""Benchmarks of hashing and versioning against DVC, W&B and the limits of the machine.

`python -m benchmarks` runs it.
"""
