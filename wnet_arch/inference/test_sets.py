"""Test sets: an LMDB set of ``wnet prepare``, or a folder of HR faces."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from wnet_arch.data.face_lmdb import MANIFEST, LMDBReader
from wnet_arch.data.face_parsing_dataset import FolderReader, decode_labels, decode_rgb, reduce_bicubic
from wnet_arch.data.set_checks import check_set
from wnet_arch.data.set_paths import SPLITS, find_set
from wnet_arch.errors import DataError, UsageError, named


class Reader(Protocol):
    """Encoded images by name, from a folder or an LMDB."""

    @property
    def path(self) -> str | Path:
        """The folder, or the LMDB."""
        ...

    def get(self, key: str) -> bytes:
        """The file of one image."""
        ...


@dataclass
class TestSet:
    """HR faces by key, all of one size, with their LR faces. Can be sent to other processes.

    Attributes:
        name: what tables call it.
        path: where it lies.
        keys: names of the faces, in order.
        size: (height, width) of the HR faces.
        lq_note: how LR was made.
        gt, lq, parsing: readers; LR by scale, missing where it is made from HR.
        stored: (height, width) of the HR faces as they are stored, where :attr:`size` is what they are reduced to.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    name: str
    path: str
    keys: list[str]
    size: tuple[int, int]
    lq_note: str
    gt: Reader = field(repr=False)
    lq: Mapping[int, Reader] = field(default_factory=dict, repr=False)
    parsing: Reader | None = field(default=None, repr=False)
    stored: tuple[int, int] | None = None

    def hr(self, key: str) -> np.ndarray:
        """HR face, RGB uint8 (H, W, 3).

        Raises:
            DataError: it is unreadable, or not of the size of the others.
        """
        image = decode_rgb(self.gt.get(key), f"{self.gt.path}: {key}")
        stored = self.stored or self.size
        if image.shape[:2] != stored:
            raise DataError(f"{self.gt.path}: {key} is {_by(image.shape)}, the others are {_by(stored)}")
        return image if stored == self.size else self._reduced(image, Image.Resampling.BICUBIC)

    def _reduced(self, image: np.ndarray, filter: Image.Resampling) -> np.ndarray:
        return np.array(Image.fromarray(image).resize(self.size[::-1], filter))

    def lr(self, key: str, scale: int, hr: np.ndarray | None = None) -> np.ndarray:
        """LR face, RGB uint8 (H / scale, W / scale, 3): the stored one, or PIL's bicubic reduction of the HR face."""
        if scale not in self.lq:
            return reduce_bicubic(self.hr(key) if hr is None else hr, scale)
        where = f"{self.lq[scale].path}: {key}"
        image = decode_rgb(self.lq[scale].get(key), where)
        wanted = (self.size[0] // scale, self.size[1] // scale)
        if image.shape[:2] != wanted:
            raise DataError(f"{where} is {_by(image.shape)}; x{scale} of {_by(self.size)} is {_by(wanted)}")
        return image

    def labels(self, key: str) -> np.ndarray | None:
        """The stored parsing map, uint8 (H, W), if the set has maps."""
        if not self.parsing:
            return None
        found = decode_labels(self.parsing.get(key), f"{self.parsing.path}: {key}")
        return self._reduced(found, Image.Resampling.NEAREST) if self.stored else found

    def reduce(self, side: int) -> None:
        """Reduces the HR faces to ``side`` pixels each way, by Pillow's bicubic filter; LR faces are made from these.

        Raises:
            DataError: they are smaller, or not square.
        """
        if self.size == (side, side):
            return
        if self.size[0] != self.size[1] or self.size[0] < side:
            raise DataError(f"--size {side}: the faces of {self.path} are {_by(self.size)}; larger square ones can be reduced")
        self.lq_note = f"PIL bicubic of the HR images, which were reduced from {_by(self.size)}"
        self.stored, self.size, self.lq = self.size, (side, side), {}


def _by(shape: tuple) -> str:
    return f"{shape[1]}x{shape[0]}"


def open_sets(entries: list[str], scales: list[int], limit: int | None = None, side: int | None = None) -> list[TestSet]:
    """Opens what ``--sets`` names, each ``PATH`` or ``NAME=PATH``; ``side``: reduces the HR faces to that.

    Raises:
        UsageError: two sets of one name.
        DataError: a path is no set and no folder of images, or does not fit the scales.
    """
    sets: list[TestSet] = []
    for entry in entries:
        name, equals, path = entry.partition("=")
        path = os.path.expanduser(path if equals else entry)
        opened = open_set(path, name if equals else _name_of(path), scales, limit, side)
        if any(opened.name == other.name for other in sets):
            raise UsageError(f"--sets: two sets are called '{opened.name}'; name one of them, as in --sets other={path}")
        sets.append(opened)
    return sets


def _name_of(path: str) -> str:
    """The folder's name, with its parent's where it is a split: celeba/val is celeba_val."""
    absolute = Path(path).absolute()
    return f"{absolute.parent.name}_{absolute.name}" if absolute.name in SPLITS else absolute.name


def open_set(path: str, name: str, scales: list[int], limit: int | None = None, side: int | None = None) -> TestSet:
    """Opens one set for the given scales; ``limit`` keeps the first faces only, ``side`` reduces them to that side in pixels.

    Raises:
        DataError: there is no such folder; it holds no faces; faces differ in size or cannot be reduced by a scale; the set was
            not prepared for a scale.
    """
    try:
        path = find_set(path)
    except DataError as error:
        raise DataError(f"--sets: {error}") from error
    is_set = os.path.isdir(os.path.join(path, "gt.lmdb"))
    found = _open_lmdb(path, name, scales if side is None else []) if is_set else _open_folder(path, name)
    if side is not None:
        found.reduce(side)
    for scale in scales:
        if found.size[0] % scale or found.size[1] % scale:
            raise DataError(f"{path}: faces of {_by(found.size)} cannot be reduced {scale} times")
    found.keys = found.keys[:limit]
    return found


def _open_lmdb(path: str, name: str, scales: list[int]) -> TestSet:
    maps = os.path.join(path, "parsing.lmdb")
    check_set(path, scales, ["parsing"] * os.path.isdir(maps))
    gt = LMDBReader(os.path.join(path, "gt.lmdb"))
    lq = {scale: LMDBReader(os.path.join(path, f"lq_x{scale}.lmdb")) for scale in scales}
    parsing = LMDBReader(maps) if os.path.isdir(maps) else None
    first = decode_rgb(gt.get(gt.keys[0]), f"{gt.path}: {gt.keys[0]}")
    return TestSet(name, path, gt.keys, first.shape[:2], "stored in the set (PIL bicubic)", gt, lq, parsing)


def _open_folder(path: str, name: str) -> TestSet:
    splits = [split for split in SPLITS if os.path.isfile(os.path.join(path, split, MANIFEST))]
    if splits:
        raise DataError(f"--sets: {path} holds several sets; name one of them: {named([f'{path}/{s}' for s in splits])}")
    gt = FolderReader(path)
    sizes = {key: gt.size(key) for key in gt.keys}
    common = max(set(sizes.values()), key=list(sizes.values()).count)
    odd = [f"{gt.files[key]} ({_by(size)})" for key, size in sizes.items() if size != common]
    if odd:
        raise DataError(f"{path}: HR faces have one size, {_by(common)} here, but not {named(odd)}")
    return TestSet(name, path, gt.keys, common, "PIL bicubic of the HR images", gt)
