"""The option files that come with the package, by name: ``-opt wnet_x8`` works without a clone of the repository."""

from __future__ import annotations

import os
from pathlib import Path

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.options import old_names

FOLDER = Path(__file__).parent / "runs"


def files() -> dict[str, Path]:
    """The files by name, which is their path below :data:`FOLDER` without suffix: ``wnet_x8``, ``baselines/SPARNet_x8``."""
    found = sorted(FOLDER.rglob("*.yml"), key=lambda file: (len(file.relative_to(FOLDER).parts), file.as_posix()))
    return {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in found}


def title(file: Path) -> str:
    """What a file says of itself: its first sentence."""
    comment = " ".join(line[1:].strip() for line in file.read_text(encoding="utf-8").splitlines()[1:4] if line.startswith("#"))
    return comment.partition(". ")[0].partition(": ")[0].rstrip(".")


def find(name: str) -> Path:
    """A packaged file by its name, with or without its folder and suffix, in any case of letters.

    Raises:
        UsageError: there is none of that name, with the nearest.
    """
    known, name = files(), old_names.file(name)
    found = [file for title, file in known.items() if name.lower().removesuffix(".yml") in _spellings(title)]
    if found:
        return found[0]
    last = name.replace("\\", "/").rpartition("/")[2].removesuffix(".yml")
    near = did_you_mean(last, [title.rpartition("/")[2] for title in known])
    hint = near if "did you mean" in near else "; `wnet options list` shows them"
    raise UsageError(f"there is no option file {name}, and none of that name in the package{hint}")


def resolve(text: str) -> str:
    """The path of an option file: ``text`` itself where there is such a file, else the packaged one of that name (:func:`find`)."""
    path = os.path.expanduser(text)
    return path if os.path.exists(path) else str(find(text))


def _spellings(name: str) -> tuple[str, ...]:
    name = name.lower()
    return name, name.rpartition("/")[2], f"options/{name}"
