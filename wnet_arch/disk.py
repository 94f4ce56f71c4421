"""Why a file could not be written, in plain words.

A full disk has many names: torch speaks of an "enforce fail", LMDB of an "Input/output error", SQLite of a database that is full,
OpenCV says nothing. Where a library hides the reason, the disk is asked again, by writing a little.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wnet_arch.errors import WNetError

#: No space, and no space left of what this user may have.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
#: What is written to find out: more than libraries write at a time.
_PROBE = 16 << 20


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A name beside ``path`` to write to, with its suffix. It is renamed at the end, so what bears the name is whole.

    Raises:
        WNetError: it cannot be written. What was there before is untouched then, and nothing half-written is left.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # were it a link, it would be written through
        yield part
        part.replace(path)
    except OSError as error:
        raise WNetError(f"cannot write {path}: {reason(error, part)}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file (UTF-8) beside its target and renames it. Raises :class:`WNetError` as :func:`replacing` does.

    Bytes of files' names that are no UTF-8 become ``\\udcXX``.
    """
    with replacing(path) as part, open(part, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(text)


def no_link(path: str, flags: int) -> int:
    """An ``opener`` for :func:`open` that does not follow a link, which could lead to any file of the user's."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def reason(error: BaseException, path: str | os.PathLike, then: str = "run the same command again") -> str:
    """Why ``path`` could not be written, as a part of one line.

    Args:
        error: what the library raised. A file it left unfinished must still be there, since it may be what fills the disk.
        path: what was written.
        then: what to do once there is space.

    Returns:
        ``no space left on FOLDER: free some, then ...``, or what the system says, or the library.
    """
    code = _code(error)
    if code in (None, errno.EIO):
        code = _asked(Path(path)) or code
    if code in _FULL:
        return no_space(path, then)
    if code == errno.ELOOP:
        return "it is a link, which is not followed; remove it"
    if code == errno.EFBIG:
        return "it became larger than a file may be here (ulimit -f)"
    if code == errno.EIO and not isinstance(error, OSError):
        return "the disk took only a part of it: it is full, or failing"
    return os.strerror(code) if code else (" ".join(str(error).split()) or type(error).__name__)


def no_space(path: str | os.PathLike | None, then: str = "run the same command again") -> str:
    """What to say of a full disk. Where the path is not known, it is most likely below the current folder."""
    if path is None and _asked(Path.cwd()) in _FULL:
        path = Path.cwd()
    return f"no space left on {_folder(Path(path)) if path else 'a disk that was written to'}: free some, then {then}"


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that a disk is full."""
    return _code(error) in _FULL


def _code(error: BaseException | None) -> int | None:
    """The system's number of an error: its own, that of what caused it, or one in its text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        text = str(error)
        number = re.search(r"\(os error (\d+)\)", text)  # of libraries written in Rust
        if number:
            return int(number[1])
        named = {os.strerror(code): code for code in (*_FULL, errno.EIO, errno.EACCES, errno.EROFS, errno.EFBIG)}
        named["database or disk is full"] = errno.ENOSPC
        for words, code in named.items():
            if text.endswith(words):
                return code
        error = error.__cause__
    return None


def _folder(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    path = path.absolute()
    return next((place for place in (path, *path.parents) if place.is_dir()), path.parent)


def _asked(path: Path) -> int | None:
    """The system's number for why nothing more can be written beside ``path``, or to it; ``None`` if it can."""
    try:
        with tempfile.TemporaryFile(dir=_folder(path)) as file:  # has no name, so nothing can be left of it
            for _ in range(_PROBE >> 20):
                file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and path.is_file() and path.stat().st_size >= limit - (1 << 16):
            return errno.EFBIG
    return None
