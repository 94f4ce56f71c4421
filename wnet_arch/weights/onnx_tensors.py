"""Which other files an ONNX file keeps tensors in. Read from its bytes: no package is needed, and nothing is run.

An ONNX file is a protocol buffer. Only the messages on the way to tensors are entered, by the numbers of their fields in
``onnx.proto``; all else is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

from wnet_arch.errors import WeightsError

#: For each kind of message, the fields that may hold tensors, and what they are.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA = 13  # of a tensor: entries of a key and a value


def tensor_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold tensors of it, in the order of their names.

    Raises:
        WeightsError: the file cannot be read or is damaged; one of the others is missing, too short, or not beside it.
    """
    try:
        data = path.read_bytes()
        entries = list(_external(memoryview(data), "model"))
        needed: dict[str, int] = {}
        for entry in entries:
            end = int(entry.get("offset", 0)) + int(entry.get("length", 0))
            needed[entry["location"]] = max(end, needed.get(entry["location"], 0))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, IndexError, RecursionError) as error:
        raise WeightsError(damaged(path)) from error
    return [_checked(path, name, size) for name, size in sorted(needed.items())]


def damaged(path: Path | str) -> str:
    """What to say of a file that is none of ONNX, or was cut off."""
    return f"{path} is not a readable ONNX file: it is damaged, cut off, or something else; export or download it again"


def _checked(path: Path, name: str, size: int) -> Path:
    inside = PurePath(name)
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise WeightsError(f"{path} keeps tensors in '{name}', which is not beside it: export it again, with its tensors in it")
    file = path.parent / inside
    if not file.is_file():
        raise WeightsError(f"{path} keeps its tensors in {file}, which is missing: bring that file along")
    if file.stat().st_size < size:
        have = file.stat().st_size
        raise WeightsError(f"{file} is cut off: it has {have:,} bytes, {path.name} takes {size:,} from it; bring it again")
    return file


def _external(data: memoryview, kind: str) -> Iterator[dict[str, str]]:
    """The entries ``location``, ``offset``, ``length`` of all tensors in a message that are kept elsewhere."""
    if kind == "tensor":
        pairs = [dict(_fields(value)) for number, value in _fields(data) if number == _EXTERNAL_DATA]
        if pairs:
            yield {bytes(pair[1]).decode(): bytes(pair.get(2, b"")).decode() for pair in pairs}
        return
    for number, value in _fields(data):
        if number in _INSIDE[kind]:
            yield from _external(value, _INSIDE[kind][number])


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Numbers and bytes of a message's fields that have a length. Raises ``ValueError`` or ``IndexError`` if it is none."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            at = _varint(data, at)[1]
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            raise ValueError("no field of a message")
    if at > len(data):
        raise ValueError("cut off")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, the lowest first; and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("no whole number")
