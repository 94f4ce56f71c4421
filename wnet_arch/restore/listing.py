"""Which files are to be restored, and what their results are called."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wnet_arch.errors import UsageError
from wnet_arch.photo_formats import is_folder, passed_over
from wnet_arch.photo_formats import stem as stem_of
from wnet_arch.restore.record import NAME

#: Folders of results beside those of the photos; a folder of photos with such a name gets another.
RESULT_FOLDERS = ("faces", "sheets")
#: Bytes of a photo's name from which its results have a shorter one; file systems take 255.
LONGEST = 230
#: Of results; see :func:`wnet_arch.restore.files.suffix`.
SUFFIXES = (".png", ".jpg")


@dataclass(frozen=True)
class PhotoJob:
    """One photo. ``stem``: path of its results below the folder for results, without suffix."""

    source: Path
    stem: str


@dataclass
class Listing:
    """What there is to do. ``failed``: folders that could not be read, ``passed``: files that are no photos, with the reasons;
    ``photos``: all real paths of the jobs.
    """

    jobs: list[PhotoJob] = field(default_factory=list)
    photos: set[str] = field(default_factory=set)
    failed: list[tuple[str, str]] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)


def list_jobs(paths: Sequence[str | os.PathLike], out: Path, recursive: bool) -> Listing:
    """The photos that the user has named, and what of it is passed over.

    Of a folder, its photos are taken (see :func:`wnet_arch.photo_formats.passed_over`), but no results, in ``out`` or elsewhere; a
    file that is named itself is taken as it is. Results keep their place below the folder. Where two would have one name, the
    later keeps its own suffix in it (``a.bmp.png``), or gets a number.

    Raises:
        UsageError: a path does not exist or cannot be read, or ``out`` is one of the folders.
    """
    listing = Listing()
    names = _Names()
    for given in paths:
        path = Path(os.path.expanduser(given))
        try:
            if not os.fspath(given):
                raise ValueError("an empty path is the current folder")
            path.stat()
        except PermissionError as error:
            raise UsageError(f"cannot read {given}: {error.strerror}") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"there is no photo or folder {given or repr(given)}") from error
        if path.is_dir() and path.resolve() == out.resolve():
            raise UsageError(f"-o {out} is the folder of the photos; name another, so that they are not mixed with results")
        found = _in_folder(path, path, out.resolve(), recursive, listing) if path.is_dir() else [(path, path.name)]
        for source, name in found:
            real = os.path.realpath(source)
            if real not in listing.photos:
                listing.photos.add(real)
                listing.jobs.append(PhotoJob(source, names.take(name)))
    return listing


def _in_folder(folder: Path, root: Path, out: Path, recursive: bool, listing: Listing) -> Iterator[tuple[Path, str]]:
    """The photos of a folder, and of those below it unless they are hidden. Links to folders are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        listing.failed.append((str(folder), f"unreadable: {error.strerror}"))
        return
    for entry in found:
        path = folder / entry.name
        if is_folder(entry):
            is_own = not entry.is_symlink() and not entry.name.startswith(".")
            if recursive and is_own and path.resolve() != out and not os.path.exists(path / NAME):
                yield from _in_folder(path, root, out, recursive, listing)
            continue
        reason = passed_over(entry)
        if reason is None:
            yield path, path.relative_to(root).as_posix()
        else:
            listing.passed.append((str(path), reason))


class _Names:
    """Stems of results: none is given twice, and no result (``b.png``) has the name of a folder of others (``b.png/``)."""

    def __init__(self) -> None:
        self.stems: set[str] = set()
        self.folders: set[str] = set()

    def take(self, name: str) -> str:
        if name.split("/")[0] in RESULT_FOLDERS or any(self._is_result(folder) for folder in _folders(name)):
            name = f"photos-{name}"
        name = _shortened(name)
        stem, number = stem_of(name), 2
        candidate = stem if self._is_free(stem) else name
        while not self._is_free(candidate):
            candidate, number = f"{stem}-{number}", number + 1
        self.stems.add(candidate)
        self.folders.update(_folders(candidate))
        return candidate

    def _is_free(self, stem: str) -> bool:
        return stem not in self.stems and not any(stem + suffix in self.folders for suffix in SUFFIXES)

    def _is_result(self, folder: str) -> bool:
        stem, suffix = os.path.splitext(folder)
        return suffix in SUFFIXES and stem in self.stems


def _shortened(name: str) -> str:
    """With a last part so short that a result with a number and a suffix more is a file name everywhere."""
    head, slash, last = name.rpartition("/")
    encoded = os.fsencode(last)
    if len(encoded) <= LONGEST:
        return name
    suffix = os.path.splitext(last)[1]
    suffix = suffix if len(suffix) < 9 else ""  # a file that is named itself may be called anything
    kept = encoded[: LONGEST - 9 - len(os.fsencode(suffix))].decode(errors="ignore")
    return f"{head}{slash}{kept}-{zlib.crc32(encoded):08x}{suffix}"


def _folders(name: str) -> list[str]:
    """Those that lead to a path: ``a``, ``a/b`` of ``a/b/c``."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def apart(jobs: Sequence[PhotoJob], is_of_another: Callable[[str, Path], bool]) -> list[PhotoJob]:
    """The jobs under names that no other photo has, also of those that were restored into the folder before.

    Args:
        jobs: as :func:`list_jobs` names them.
        is_of_another: whether the results of that stem are those of another photo than this.
    """
    taken, found = {job.stem for job in jobs}, []
    for job in jobs:
        stem, number = job.stem, 2
        while is_of_another(stem, job.source) or (stem != job.stem and stem in taken):
            stem, number = f"{job.stem}-{number}", number + 1
        taken.add(stem)
        found.append(PhotoJob(job.source, stem))
    return found
