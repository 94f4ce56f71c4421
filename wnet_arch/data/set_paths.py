"""Where a face set lies: the folder that was named, or the same split under the name that other versions gave it."""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path

from wnet_arch.errors import DataError

SPLITS = ("train", "val", "test")
#: Commands that make the sets which the option files of the package name.
_COMMANDS = {
    "celeba": "wnet prepare celeba --root CelebA --mode I --parser compact --out {}",
    "celeba_II": "wnet prepare celeba --root CelebA --mode II --parser compact --out {}",
    "helen": "wnet prepare helen --root helen --parser compact --out {}",
    "helen50": "wnet prepare helen --root helen --mode last50 --parser compact --out {}",
    "celebamask": "wnet prepare celebamask --root CelebAMask-HQ --out {}",
}


def find_set(path: str | os.PathLike) -> str:
    """The folder of a set.

    ``wnet prepare`` writes splits as ``NAME/train``; sets that were made one by one are often called ``NAME_train``. Either
    name finds the other, with a note, if the one that was named is not there.

    Raises:
        DataError: there is neither; with the command that makes it.
    """
    path = os.path.expanduser(os.fspath(path))
    if os.path.isdir(path):
        return path
    other = _other_name(Path(path))
    if other is not None and (other / "manifest.json").is_file():
        say_once(f"note: there is no folder {path}; the set {other} is read in its place")
        return str(other)
    raise DataError(f"there is no folder {path}; {_how_to_make(Path(path))}")


@functools.cache
def say_once(text: str) -> None:
    """Once a process, on standard error unless a program has arranged its logs otherwise."""
    logging.getLogger("wnet_arch").warning(text)


def _other_name(path: Path) -> Path | None:
    if path.name in SPLITS:
        return path.parent.with_name(f"{path.parent.name}_{path.name}") if path.parent.name else None
    base, _, split = path.name.rpartition("_")
    return path.with_name(base) / split if base and split in SPLITS else None


def _how_to_make(path: Path) -> str:
    name, out = (path.parent.name, path.parent) if path.name in SPLITS else (path.name, path)
    halves = " --holdout N" if path.name in ("train", "val") else ""  # a folder of photos has no splits of its own
    photos = f"wnet prepare --root PHOTOS --crop five-point --parser compact{halves} --out {{}}"
    return f"`{_COMMANDS.get(name, photos).format(out)}` makes it"
