"""Which files are to be restored, and what their results are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wnet_arch.data.photos import SUFFIXES
from wnet_arch.errors import UsageError
from wnet_arch.restore.record import NAME

#: Folders of results beside those of the photos; a folder of photos with such a name gets another.
RESULT_FOLDERS = ("faces", "sheets")


@dataclass(frozen=True)
class PhotoJob:
    """One photo. ``stem``: path of its results below the folder for results, without suffix."""

    source: Path
    stem: str


def list_jobs(paths: Sequence[str | os.PathLike], out: Path, recursive: bool) -> tuple[list[PhotoJob], list[tuple[str, str]]]:
    """The photos behind what the user has named, and the folders that could not be read with the reason.

    Of a folder, files with a picture's suffix are taken, but no hidden ones and no results, in ``out`` or elsewhere; a file that is
    named itself is taken as it is. Results keep their place below the folder. Where two would have one name, the later keeps
    its own suffix in it (``a.bmp.png``), or gets a number.

    Raises:
        UsageError: a path does not exist or cannot be read, or ``out`` is one of the folders.
    """
    jobs, failed, seen, taken = [], [], set(), set()
    for given in paths:
        path = Path(os.path.expanduser(given))
        try:
            path.stat()
        except PermissionError as error:
            raise UsageError(f"cannot read {given}: {error.strerror}") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"there is no photo or folder {given}") from error
        if path.is_dir() and path.resolve() == out.resolve():
            raise UsageError(f"-o {out} is the folder of the photos; name another, so that they are not mixed with results")
        found = _in_folder(path, path, out.resolve(), recursive, failed) if path.is_dir() else [(path, path.name)]
        for source, name in found:
            real = os.path.realpath(source)
            if real not in seen:
                seen.add(real)
                jobs.append(PhotoJob(source, _free_stem(name, taken)))
    return jobs, failed


def _in_folder(folder: Path, root: Path, out: Path, recursive: bool, failed: list) -> Iterator[tuple[Path, str]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False), _may_be_photo(entry)) for entry in entries)
    except OSError as error:
        failed.append((str(folder), f"unreadable: {error.strerror}"))
        return
    for name, is_folder, may_be_photo in found:
        path = folder / name
        if name.startswith("."):
            continue
        if is_folder and recursive and path.resolve() != out and not os.path.exists(path / NAME):
            yield from _in_folder(path, root, out, recursive, failed)
        elif may_be_photo and path.suffix.lower() in SUFFIXES:
            yield path, path.relative_to(root).as_posix()


def _may_be_photo(entry: os.DirEntry) -> bool:
    """A file, or a link, broken ones too: they will be a line of their own. Links to folders are not followed."""
    return (entry.is_symlink() and not os.path.isdir(entry.path)) or entry.is_file(follow_symlinks=False)


def _free_stem(name: str, taken: set[str]) -> str:
    if name.split("/")[0] in RESULT_FOLDERS:
        name = f"photos-{name}"
    stem, number = os.path.splitext(name)[0], 2
    candidate = stem if stem not in taken else name
    while candidate in taken:
        candidate, number = f"{stem}-{number}", number + 1
    taken.add(candidate)
    return candidate
