"""Paperspace on loopback: `PaperspaceEmulator`, and the switches for what its documents leave open."""

from mlflow_dsver.emulators.paperspace.service import PaperspaceEmulator
from mlflow_dsver.emulators.paperspace.switches import SWITCHES

__all__ = ["SWITCHES", "PaperspaceEmulator"]
