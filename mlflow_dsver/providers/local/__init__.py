"""The embedded provider: versions kept in a folder of this machine, with no account and no network.

`store` is the layout and the locks, `log` what happened to a dataset, `objects` how bytes come in and are read
back, `views` how they are given out, `maintenance` checking and collecting garbage, `provider` the whole in the
words of the interface. Linux and macOS only: the locks are those of `flock`.
"""

from __future__ import annotations

from mlflow_dsver.providers.local.provider import LocalProvider
from mlflow_dsver.providers.local.store import Store

__all__ = ["LocalProvider", "Store"]
