"""Converts an exception to one line on standard error and an exit code, for every command.

Exceptions of Python, MLflow and databases with known causes are explained, with advice; any other exception is
reported as a bug of this package.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable

import click

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError
from mlflow_dsver.secrets import redacted
from mlflow_dsver.terminal.output import PROGRAM, leave_quietly, print_error
from mlflow_dsver.text import error_line, one_line

COULD_NOT = 3
STOPPED = 130
"""Exit code after Ctrl-C, by the convention of shells."""

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
"""Optional modules, and what to install for them."""


def explained(error: BaseException) -> str | None:
    """Cause and advice, on one line and without secrets; None for an exception without a known cause."""
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
    """The library that defines this exception's class; imports nothing."""
    modules = {kind.__module__ for kind in type(error).__mro__}
    return "mlflow" if "mlflow.exceptions" in modules else "sqlalchemy" if "sqlalchemy.exc" in modules else None


def guarded(work: Callable[[], object]) -> int:
    """Run `work` and return the exit code: the number it returns, else one derived from its exception."""
    debug = settings.text(settings.PREFIX + "DEBUG") is not None
    prepare(debug)
    try:
        code = work()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        leave_quietly()
    except (click.Abort, KeyboardInterrupt):
        print_error("stopped")
        return STOPPED
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else PROGRAM
        print_error(f"{error.format_message()} Try: {where} --help")
        return error.exit_code
    except click.ClickException as error:
        print_error(error.format_message())
        return error.exit_code
    except DsverError as error:
        _show_trace(debug)
        print_error(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001  (the last resort: one line instead of a traceback)
        _show_trace(debug)
        ordinary = explained(error)
        what = f"unexpected {error_line(error, 1000)}. Try: {settings.PREFIX}DEBUG=1 shows where; please report it"
        print_error(ordinary or what)
        return COULD_NOT


def _show_trace(debug: bool) -> None:
    """Write the traceback of the current exception if requested; secrets in it are removed."""
    if debug:
        print(redacted(traceback.format_exc()), file=sys.stderr)


def prepare(debug: bool) -> None:
    """Make output escape characters that the encoding lacks, and silence other libraries' warnings unless `debug`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not debug:
        warnings.simplefilter("ignore")
        logging.disable(logging.INFO)
