"""Errors a user can act on: one clear line each, and the exit code the commands end with."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from importlib import metadata


class WNetError(Exception):
    """Something went wrong that the user can understand and mend. Commands print it as one line and exit 1."""

    exit_code = 1


class UsageError(WNetError):
    """Wrong arguments, options, paths or data named in them. Exit code 2."""

    exit_code = 2


class NetworkError(UsageError, ValueError):
    """A network cannot be built as asked, or cannot take the input it was given."""


class DataError(UsageError):
    """A data set is missing, incomplete, or not what the options say it is."""


class WeightsError(UsageError):
    """A pretrained file is missing, damaged, or made for another configuration."""


class NothingToDoError(WNetError):
    """The command was right, but there was nothing to work on (no photo, no face). Exit code 3."""

    exit_code = 3


class PeerError(WNetError):
    """Another process of the run has said why it cannot go on. This one ends without a word, exit code 2."""

    exit_code = 2


#: What to say where the framework is missing.
NO_FRAMEWORK = "BasicSR is not installed: run `python -m wnet_arch.install_basicsr`"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean 'X'?"`` for the nearest known name, or the list of known names when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if not near:
        folded = {k.lower(): k for k in known}
        near = [folded[m] for m in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.6)]
    if near:
        return "; did you mean " + " or ".join(f"'{n}'" for n in near) + "?"
    return "; known: " + ", ".join(known)


def install_extra(extra: str) -> str:
    """The command that installs what an optional part of this package needs: ``pip install 'gradio>=6.31'``.

    The requirements are those of the installed package's metadata; its own name is on no index yet, so naming it would not help.
    """
    marker = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    try:
        found = [line.partition(";")[0].strip() for line in metadata.requires("wnet-fsr") or () if marker.search(line)]
    except metadata.PackageNotFoundError:
        found = []
    if not found:
        return f"pip install --no-build-isolation -e '.[{extra}]' in the folder of this project"
    return "pip install " + " ".join(f"'{requirement}'" for requirement in found)


def named(items: Sequence[str], limit: int = 3) -> str:
    """The first few of a list of names: ``a, b, c and 4 more``."""
    shown = ", ".join(items[:limit])
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown
