"""What is known of the provider `lakefs` without importing it: references, hooks and the emulator.

A reference is `lakefs://repository/path@commit`; without a path it means the whole repository. lakeFS' own notation,
`lakefs://repository/ref/path`, cannot be told from it, and is not read.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mlflow_dsver.plugins import ProviderInfo

NAME = "lakefs"
COMMIT = re.compile(r"[0-9a-f]{64}\Z")
"""A commit id, the only thing that names a version for ever."""


class Place(NamedTuple):
    """A repository, or a folder or object in it. path: below the root; empty for the whole repository."""

    repository: str
    path: str = ""

    @property
    def dataset(self) -> str:
        """The name in a canonical reference."""
        return f"{self.repository}/{self.path}" if self.path else self.repository


def place_of(dataset: str) -> Place:
    """The place that a reference's name means."""
    repository, _, path = dataset.partition("/")
    return Place(repository, path)


_TAGS = "mlflow_dsver.providers.lakefs.recorded:from_run"

INFO = ProviderInfo(
    title="lakeFS",
    slashes_in_selectors=True,
    emulator="mlflow_dsver.providers.lakefs.emulator:LakefsEmulator",
    recorded_tags={"lakefs_commit": _TAGS, "lakefs_head_commit_id": _TAGS, "lakefs_repo": _TAGS},
)
