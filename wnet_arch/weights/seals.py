"""Checksums inside weights files: one rename makes a file and its checksum visible, and neither is ever there without the other.

* ``.pth`` and ``.state`` (ZIP archives, as ``torch.save`` writes them) end in the archive's comment: ``sha256:`` and the SHA-256 of
  all bytes before it.
* ``.safetensors`` have it in their metadata, as ``sha256: wnet:...``: that of the header without this entry (JSON, keys sorted, no
  spaces), followed by the bytes of the tensors.

Every other program reads both as before. A ZIP archive of somebody else has a CRC-32 for each record, which PyTorch writes and
does not check; here it is checked.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from wnet_arch.errors import WeightsError
from wnet_arch.weights import pth

KEY, MARK = "sha256", "wnet:"
_COMMENT = re.compile(rb"sha256:([0-9a-f]{64})")
_COMMENT_BYTES = len("sha256:") + 64
#: The record at the end of a ZIP archive without a comment, whose length stands in the last two bytes.
_END, _END_BYTES = b"PK\x05\x06", 22
#: The attribute by which a ZIP archive marks folders. It has no check, and PyTorch writes none.
_FOLDER = 0x10


def seal_archive(path: str | os.PathLike) -> str:
    """Appends the checksum to a ZIP archive that ``torch.save`` wrote; returns it."""
    with open(path, "r+b") as file:
        file.seek(-_END_BYTES, os.SEEK_END)
        end = file.read()
        if not end.startswith(_END) or end[-2:] != b"\0\0":
            raise ValueError(f"{path} is not an archive of torch.save")
        file.seek(-2, os.SEEK_END)
        file.write(_COMMENT_BYTES.to_bytes(2, "little"))
        file.seek(0)
        digest = _digest(file)
        file.seek(0, os.SEEK_END)
        file.write(f"sha256:{digest}".encode())
    return digest


def pack_tensors(tensors: Mapping[str, torch.Tensor], about: Mapping[str, str] | None = None) -> bytes:
    """A ``.safetensors`` file with its checksum.

    Args:
        tensors: by name.
        about: more metadata, texts.
    """
    from safetensors.torch import save

    plain = save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(about or {}))
    header, body = _split(plain)
    texts = {key: value for key, value in sorted(header.get("__metadata__", {}).items()) if key != KEY}  # safetensors mixes them
    digest = _digest_of_tensors({**header, "__metadata__": texts}, body)
    text = json.dumps({**header, "__metadata__": {**texts, KEY: MARK + digest}}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + body


def write_tensors(tensors: Mapping[str, torch.Tensor], path: str | os.PathLike, about: Mapping[str, str] | None = None) -> None:
    """Writes a ``.safetensors`` file with its checksum beside ``path`` and renames it. Raises ``OSError``."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(pack_tensors(tensors, about))
        rename(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def rename(part: Path, path: Path) -> None:
    """Gives a finished file its name, so that it is whole under that name after a loss of power, too."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check(path: str | os.PathLike) -> str | None:
    """Compares a weights file with the checksum inside.

    Returns:
        The checksum; ``None`` where there is none, after a look at what the format itself has: CRC-32 of ZIP archives.

    Raises:
        WeightsError: the file is damaged, or cannot be read.
    """
    path = Path(path)
    try:
        if is_archive(path):
            return _check_archive(path)
        return _check_tensors(path) if path.suffix == ".safetensors" else None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error})") from error


def is_archive(path: str | os.PathLike) -> bool:
    """Whether a file is a ZIP archive, whose records have a CRC-32 each."""
    with open(path, "rb") as file:
        return file.read(2) == b"PK"


@functools.cache
def note_foreign(path: str) -> None:
    """Says, once a process, that a file has no checksum."""
    logging.getLogger("wnet_arch").warning(
        f"note: nothing vouches for {path}: it holds no checksum, so damage would not be noticed"
    )


def _check_archive(path: Path) -> str | None:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _COMMENT_BYTES))
        comment = _COMMENT.fullmatch(file.read())
        if comment:
            file.seek(0)
            found, expected = _digest(file, size - _COMMENT_BYTES), comment[1].decode()
            if found != expected:
                raise WeightsError(f"{path} is damaged: its sha256 is {found}, the file says {expected}")
            return found
    try:
        with zipfile.ZipFile(path) as archive:
            folders = (info.filename for info in archive.infolist() if info.external_attr & _FOLDER)  # to PyTorch: all zeros
            bad = "comment" if len(archive.comment) == _COMMENT_BYTES else next(folders, None) or archive.testzip()
    except Exception as error:  # zipfile raises nearly anything for damaged archives
        raise WeightsError(f"{path} is not a readable weights file: {pth.why(path, error)}") from error
    if bad:
        raise WeightsError(f"{path} is damaged: its {bad} is not what was written; copy or download it again")
    return None


def _check_tensors(path: Path) -> str | None:
    try:
        header, body = _split(path.read_bytes())
        texts = header.get("__metadata__", {})
        # By its mark, too: a file whose entry has got another name has lost more than its checksum.
        entries = {name: text for name, text in texts.items() if name == KEY or text.startswith(MARK)}
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{path} is not a readable weights file: {pth.why(path, error)}") from error
    if not entries:
        return None
    others = {name: text for name, text in texts.items() if name not in entries}
    found = _digest_of_tensors({**header, "__metadata__": others}, body)
    if entries != {KEY: MARK + found}:
        said = ", ".join(entries.values()).removeprefix(MARK)
        raise WeightsError(f"{path} is damaged: its sha256 is {found}, the file says {said}")
    return found


def _split(data: bytes) -> tuple[dict, bytes]:
    """Header and tensors of a ``.safetensors`` file. Raises ``ValueError``."""
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= len(data) - 8:
        raise ValueError("no header")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _digest_of_tensors(header: dict, body: bytes) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())
    digest.update(body)
    return digest.hexdigest()


def _digest(file, size: int | None = None) -> str:
    """SHA-256 of an open file from where it stands: of ``size`` bytes, or of all."""
    digest, left = hashlib.sha256(), float("inf") if size is None else size
    while left > 0:
        block = file.read(int(min(1 << 20, left)))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
