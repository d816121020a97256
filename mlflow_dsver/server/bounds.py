"""How much of a run's artifacts a page reads: bytes, unpacked bytes, files and seconds.

Whoever may edit one run can put anything there, such as a manifest of 0.7 MB that unpacks to 200 MiB. A page that
meets more than it reads says so and names the command that has no such bounds; it never shows a part as the whole.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

from mlflow_dsver.checks.manifest_stream import ManifestStream
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.manifests import InvalidManifest, ManifestLimits, ManifestTooLarge

LISTING = ManifestLimits(compressed=32 << 20, unpacked=128 << 20, files=1_000_000)
"""For pages that walk through manifests line by line."""
CHECKING = ManifestLimits(compressed=16 << 20, unpacked=32 << 20, files=200_000)
"""For the check button, which holds entries in memory."""
LINK = 1 << 20
"""Bytes of the JSON of one link; what providers answer takes a few kilobytes."""


class TooLarge(ValueError):
    """An artifact is larger than a page reads; the text names it."""


def until(limits: ManifestLimits, deadline: Deadline) -> ManifestLimits:
    """The limits with no more time than is left."""
    return replace(limits, seconds=deadline.left())


def fits(content: bytes, limits: ManifestLimits) -> bool:
    """Whether a manifest stays within the limits; a damaged one does: whoever reads it further says what is wrong."""
    try:
        for _ in ManifestStream(BytesIO(content), limits):
            pass
    except ManifestTooLarge:
        return False
    except InvalidManifest:
        pass
    return True
