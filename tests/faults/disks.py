"""Small file systems of their own for the fault tests: made in a file, mounted, and gone at the end. Needs root."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow_dsver.providers.local.shared_views import release_views

REASON = "needs root, mount and mkfs.ext4 to make a small disk"


def can_mount() -> bool:
    """Whether this user may mount an image; containers often forbid it even to root."""
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in ("mount", "umount", "mkfs.ext4", "losetup")):
        return False
    return subprocess.run(["losetup", "--find"], capture_output=True).returncode == 0


@contextmanager
def mounted(image: Path, folder: Path, options: str = "loop") -> Iterator[Path]:
    """The image's file system, in a folder that is made for it."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", options, image, folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        release_views()  # their locks would keep the disk busy
        subprocess.run(["umount", folder], check=True, capture_output=True)


def make_disk(image: Path, megabytes: int) -> Path:
    """An empty ext4 file system in a file."""
    with image.open("wb") as stream:
        stream.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", image], check=True, capture_output=True)
    return image
