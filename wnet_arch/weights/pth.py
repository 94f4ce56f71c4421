"""Reads ``.pth`` files without running code in them, and says in plain words what a file is that cannot be read so.

torch's own message tells the user to try again with ``weights_only=False``, which runs whatever code the file brings along.
"""

from __future__ import annotations

import errno
import os
import pickletools
import re
import tarfile
import warnings
import zipfile
from pathlib import Path

import torch

from wnet_arch.errors import WeightsError

_CONVERT = "have it saved as .safetensors where it came from"
_AGAIN = "download or copy it again"
_PROGRAM = f"it is a TorchScript program, which brings its own code; {_CONVERT}"
#: Names that plain weights refer to: what makes tensors and dictionaries of bytes.
_PLAIN = re.compile(r"torch(\._utils\._rebuild_\w+|\.\w+Storage|\.storage\.\w+|\.Size|\.\w+)|collections\.OrderedDict")


def load(path: str | os.PathLike, refusal: str = "is not a readable weights file"):
    """What a file of ``torch.save`` holds, on the CPU.

    Args:
        path: of the file.
        refusal: how the message goes on after the path.

    Raises:
        WeightsError: it is missing, damaged, something else, or cannot be made without running code of its own.
    """
    if _is_program(path):  # torch 2.4 would load it, with weights_only or without
        raise WeightsError(f"{path} {refusal}: {_PROGRAM}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of files that are refused in a moment
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # what a damaged file raises is not bounded
        raise WeightsError(f"{path} {refusal}: {why(path, error)}") from error


def _is_program(path: str | os.PathLike) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # no zip archive, or a damaged one, for which zipfile raises nearly anything
        return False


def why(path: str | os.PathLike, error: Exception) -> str:
    """What a weights file is that could not be read, and what to do. ``error`` is what the library raised."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: torch, on a file that was cut off
        return error.strerror or "it cannot be read"
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as unreadable:
        return unreadable.strerror or "it cannot be read"
    if not start:
        return f"it is empty; {_AGAIN}"
    return _other_kind(Path(path), start) or _code(Path(path), error) or f"it is damaged, cut off, or something else; {_AGAIN}"


def _other_kind(path: Path, start: bytes) -> str | None:
    """Files that are whole, but none of ``torch.save``."""
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; download the file itself (git lfs pull)"
    if start.lstrip()[:1] == b"<":
        return "it is a web page; download the file itself"
    if start[8:9] == b"{" and path.suffix != ".safetensors":
        return "it is a .safetensors file under another name; rename it"
    if path.suffix == ".safetensors" and start[:1] in (b"P", b"\x80"):
        return f"it is no .safetensors file; rename it to .pth, or {_CONVERT}"
    if tarfile.is_tarfile(path):
        return f"it is of torch's oldest format, which cannot be read without running code in it; {_CONVERT}"
    return None


def _code(path: Path, error: Exception) -> str | None:
    """What a file with more than weights refers to; it is only named here, never imported."""
    names: list[str] = []
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inside = archive.namelist()
                if _is_program(path):
                    return _PROGRAM
                pickles = [name for name in inside if name.endswith("/data.pkl")]
                if not pickles:
                    return f"it is a zip archive, but none of torch.save; {_AGAIN}"
                names = _names(archive.read(pickles[0]))
        else:
            names = _names(path.read_bytes())
    except Exception:  # zipfile raises nearly anything for damaged archives: a name that is no text, for instance
        return None
    told = re.search(r"GLOBAL ([\w.]+)", str(error))
    strange = [told[1]] if told else [name for name in names if not _PLAIN.fullmatch(name)]
    if strange:
        return f"it holds more than weights ({strange[0]}), and reading that would run code in it; {_CONVERT}"
    return None


def _names(data: bytes) -> list[str]:
    """Everything that a pickle, or several in a row, refers to."""
    found: list[str] = []
    texts: list[str] = []
    at = 0
    try:
        while data[at : at + 1] == b"\x80":
            for code, value, place in pickletools.genops(data[at:]):
                if code.name in ("GLOBAL", "INST") and isinstance(value, str):
                    found.append(value.replace(" ", "."))
                elif code.name == "STACK_GLOBAL":
                    found.append(".".join(texts[-2:]))
                elif isinstance(value, str):
                    texts.append(value)
                if code.name == "STOP" and place is not None:
                    at += place + 1
    except Exception:  # after its pickles an old file has bytes of tensors; a damaged one may hold anything
        return found
    return found
