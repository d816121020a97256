"""Paperspace on loopback: `PaperspaceEmulator`, and the switches for what its documents leave open."""

from mlflow_dsver.providers.paperspace.emulator.service import PaperspaceEmulator
from mlflow_dsver.providers.paperspace.emulator.switches import SWITCHES

__all__ = ["SWITCHES", "PaperspaceEmulator"]
