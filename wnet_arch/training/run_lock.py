"""One process trains into a folder: a second one would archive the live folder of the first, and then both would write the same."""

from __future__ import annotations

import os
from io import TextIOWrapper
from pathlib import Path

from wnet_arch.errors import UsageError, WNetError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module otherwise

_held: dict[Path, TextIOWrapper] = {}


def take(folder: str | os.PathLike) -> None:
    """Keeps other trainings out of an experiment's folder until :func:`release`, or the end of this process, however it ends.

    The lock is a file beside the folder, ``.NAME.lock``, since a new run of the same name renames the folder itself. Nothing
    happens where this process holds it already, and on Windows.

    Raises:
        UsageError: another process trains there.
        WNetError: the file cannot be made.
    """
    path = _lock_file(folder)
    if fcntl is None or path in _held:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = open(path, "a+", encoding="ascii")  # noqa: SIM115 - held
            _lock(file, folder)
            if _is_still(file, path):
                break
            file.close()  # removed by the process that held it
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    except OSError as error:
        raise WNetError(f"cannot lock {folder}: {path}: {error.strerror}") from error
    _held[path] = file


def release(folder: str | os.PathLike | None = None) -> None:
    """Gives back a folder that this process holds, or all of them."""
    for path in list(_held) if folder is None else [_lock_file(folder)]:
        if path in _held:
            path.unlink(missing_ok=True)
            _held.pop(path).close()


def _lock_file(folder: str | os.PathLike) -> Path:
    path = Path(os.path.abspath(folder))
    return path.with_name(f".{path.name}.lock")


def _lock(file: TextIOWrapper, folder: str | os.PathLike) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not shared with forked workers, who may live longer
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        process = file.read().strip()
        file.close()
        who = f"process {process}" if process.isdigit() else "another process"
        raise UsageError(f"name: {who} is training into {folder}; wait for it, or give this run another name") from error


def _is_still(file: TextIOWrapper, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
