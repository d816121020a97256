"""Exceptions of Python, MLflow and databases that ordinary circumstances cause, as one line that says what to do.

What is not listed here is a mistake of this package, and is told as one.
"""

from __future__ import annotations

import errno
import os

from mlflow_dsver.text import one_line

_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EMFILE: "too many open files. Try: a higher limit, with ulimit -n",
    errno.ENFILE: "too many open files on this machine",
    errno.EIO: "the disk failed to read or write",
    errno.ENOENT: "no such file or folder",
    errno.EACCES: "no permission",
    errno.EPERM: "not permitted",
    errno.ENOTDIR: "not a folder",
    errno.EISDIR: "is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "too many symbolic links",
    errno.EAGAIN: "no more threads or processes may be started",
}
_PACKAGES = {
    "sqlalchemy": "mlflow",
    "alembic": "mlflow",
    "sqlparse": "mlflow",
    "flask": "mlflow",
    "jinja2": "'mlflow-dsver[pages]'",
    "obstore": "'mlflow-dsver[s3]'",
    "cryptography": "'mlflow-dsver[sign]'",
}
"""Modules that are not always there, and what to install for them."""


def explained(error: BaseException) -> str | None:
    """What happened and what to try, on one line and without secrets; None for what is no ordinary circumstance."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"the Python package {package} is not installed. Try: pip install {_PACKAGES.get(package, package)}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError):
        return _of_the_system(error)
    kind = _raised_by(error)
    if kind == "mlflow":
        return f"MLflow: {one_line(error, 600)}. Try: is MLFLOW_TRACKING_URI right?"
    if kind == "sqlalchemy":
        return f"the tracking database: {one_line(error, 600)}. Try: is MLFLOW_TRACKING_URI right?"
    return None


def _of_the_system(error: OSError) -> str | None:
    if error.errno is None:
        return None
    what = _DISK.get(error.errno) or error.strerror or os.strerror(error.errno)
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{one_line(' and '.join(names), 400)}: {what}" if names else what


def _raised_by(error: BaseException) -> str | None:
    """The library whose own kind of exception this is; nothing is imported to find out."""
    modules = {kind.__module__ for kind in type(error).__mro__}
    return "mlflow" if "mlflow.exceptions" in modules else "sqlalchemy" if "sqlalchemy.exc" in modules else None
