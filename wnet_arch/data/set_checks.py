"""Whether a face set is whole, and one set: looked at when it is opened, so that no run meets it hours later."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np

from wnet_arch.data.decoding import decode_labels, decode_rgb
from wnet_arch.data.face_lmdb import LANDMARKS, WIDE, LMDBReader, read_manifest, reduce_bicubic, wide_side
from wnet_arch.data.jitter import IN_PLACE
from wnet_arch.errors import DataError
from wnet_arch.faces.landmarks import NUM_POINTS
from wnet_arch.words import counted

#: Mean difference, in grey levels, between an LR image and its reduced HR image: equal but for other versions of the filter.
_TOLERANCE = 2.0
_AGAIN = "prepare the set again, or copy it again"
_SHAPE = re.compile(r"\((\d+),(\d+),(\d+)\)")


def check_set(root: str | os.PathLike, scales: Sequence[int], more: Iterable[str] = ()) -> None:
    """Compares what a set holds with what its manifest says.

    Every LMDB is as long as its header says and holds exactly the images that its ``meta_info.txt`` and the manifest name, in the
    sizes of the manifest; the first, middle and last LR images are those of their HR images, and their label maps are maps.
    Reads keys and three images: a second for 200,000 faces.

    Args:
        root: a set of ``wnet prepare``.
        scales: of the LR images that will be read.
        more: other LMDBs that will be: ``parsing``, ``landmarks``, ``wide``.

    Raises:
        DataError: what is wrong, where, and what to do.
    """
    manifest = read_manifest(root)
    splits = [str(split) for split in manifest.get("counts") or () if Path(root, str(split), "manifest.json").is_file()]
    if splits and not Path(root, "gt.lmdb").is_dir():
        raise DataError(f"{root} holds the sets {' and '.join(splits)}: name {Path(root, splits[0])}")
    known, sizes = manifest.get("scales"), [manifest.get("size")]
    if not _are_numbers(known) or not _are_numbers(sizes):
        raise DataError(f"{root} is not a whole face set: its manifest.json names no scales or no size; prepare it again")
    size = sizes[0]
    lacking = [scale for scale in scales if scale not in known]
    if lacking:
        have = " and ".join(f"x{scale}" for scale in known)
        raise DataError(f"the set {root} was prepared for {have}, not x{lacking[0]}: prepare it again with --scales")
    shapes: dict[str, tuple[int, int, int]] = {"gt": (size, size, 3), "parsing": (size, size, 1), LANDMARKS: (NUM_POINTS, 2, 1)}
    shapes |= {f"lq_x{scale}": (size // scale, size // scale, 3) for scale in scales}
    surround = manifest.get("surround")
    if WIDE in more:
        if not isinstance(surround, (int, float)):
            raise DataError(f"the set {root} has no surroundings of its faces: prepare it again with --surround 0.2")
        shapes[WIDE] = (wide_side(size, surround), wide_side(size, surround), 3)
    kinds = ["gt", *(f"lq_x{scale}" for scale in scales), *more]
    readers = {kind: _whole_store(Path(root, f"{kind}.lmdb"), shapes[kind], manifest.get("count")) for kind in kinds}
    for reader in readers.values():
        _compare_keys(readers["gt"], reader)
    keys = readers["gt"].keys
    for key in {keys[0]: 0, keys[len(keys) // 2]: 0, keys[-1]: 0}:
        _check_face(readers, scales, key)
        if WIDE in readers and surround is not None:
            _check_wide(readers, surround, key)


def _are_numbers(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and bool(values) and all(type(value) is int and value > 0 for value in values)


def _whole_store(path: Path, shape: tuple[int, int, int], count: int | None) -> LMDBReader:
    if not path.is_dir():
        if path.stem == LANDMARKS:
            raise DataError(f"the set {path.parent} has no landmarks: prepare it again with --landmarks")
        raise DataError(f"the set {path.parent} has no {path.name}: {_AGAIN}")
    reader = LMDBReader(path)
    double = [key for key, times in Counter(reader.keys).items() if times > 1]
    if double:
        raise DataError(f"{path}/meta_info.txt names '{double[0]}' more than once: {_AGAIN}")
    if count is not None and len(reader) != count:
        raise DataError(
            f"{path}/meta_info.txt names {counted(len(reader), 'image')}, {path.parent}/manifest.json {count}: {_AGAIN}"
        )
    stored, named = set(reader.stored_keys()), set(reader.keys)
    if stored != named:
        which, what = (sorted(named - stored), "lacks") if named - stored else (sorted(stored - named), "holds, and does not name,")
        raise DataError(f"{path} {what} {counted(len(which), 'image')}: {', '.join(which[:3])}; {_AGAIN}")
    _check_shapes(path, shape)
    return reader


def _check_shapes(path: Path, shape: tuple[int, int, int]) -> None:
    """What ``meta_info.txt`` says of all images, which is what BasicSR's own readers go by."""
    for line in Path(path, "meta_info.txt").read_text(encoding="ascii").splitlines():
        found = _SHAPE.search(line)
        if line.strip() and (found is None or tuple(map(int, found.groups())) != shape):
            wanted = "({},{},{})".format(*shape)
            raise DataError(f"{path}/meta_info.txt: '{line.strip()[:80]}' is not of shape {wanted}, as its set's are: {_AGAIN}")


def _compare_keys(first: LMDBReader, other: LMDBReader) -> None:
    if other.keys == first.keys:
        return
    lone = sorted(set(first.keys) ^ set(other.keys))
    if lone:
        raise DataError(f"{other.path} and {first.path} are of different sets: only one of them holds '{lone[0]}'; {_AGAIN}")
    raise DataError(f"{other.path} names its images in another order than {first.path}: {_AGAIN}")


def _check_face(readers: dict[str, LMDBReader], scales: Sequence[int], key: str) -> None:
    gt = _decoded(readers["gt"], key, decode_rgb)
    if gt.shape[0] != gt.shape[1]:
        raise DataError(f"{readers['gt'].path}: {key} is {gt.shape[1]}x{gt.shape[0]}, HR faces are square: {_AGAIN}")
    for scale in scales:
        reader, expected = readers[f"lq_x{scale}"], reduce_bicubic(gt, scale)
        lq = _decoded(reader, key, decode_rgb)
        if lq.shape != expected.shape:
            shown = f"{lq.shape[1]}x{lq.shape[0]}, not {expected.shape[1]}x{expected.shape[0]}"
            raise DataError(f"{reader.path}: {key} is {shown} as x{scale} of {readers['gt'].path} is: {_AGAIN}")
        if np.abs(lq.astype(int) - expected).mean() > _TOLERANCE:
            raise DataError(f"{reader.path}: {key} is not the reduced image of {readers['gt'].path}: {_AGAIN}")
    parsing = _decoded(readers["parsing"], key, decode_labels) if "parsing" in readers else None
    if parsing is not None and parsing.shape != gt.shape[:2]:
        shown = f"{parsing.shape[1]}x{parsing.shape[0]}, its face {gt.shape[1]}x{gt.shape[0]}"
        raise DataError(f"{readers['parsing'].path}: {key} is {shown}: {_AGAIN}")


def _check_wide(readers: dict[str, LMDBReader], surround: float, key: str) -> None:
    gt, wide = (_decoded(readers[kind], key, decode_rgb) for kind in ("gt", WIDE))
    where = f"{readers[WIDE].path}: {key}"
    wanted = wide_side(gt.shape[0], surround)
    if wide.shape[:2] != (wanted, wanted):
        raise DataError(f"{where} is {wide.shape[1]}x{wide.shape[0]}, not {wanted}x{wanted}: {_AGAIN}")
    if np.abs(IN_PLACE.image(wide, surround, gt.shape[0]).astype(int) - gt).mean() > 2 * _TOLERANCE:
        raise DataError(f"{where} does not show the face of {readers['gt'].path}: {_AGAIN}")


def _decoded(reader: LMDBReader, key: str, decode) -> np.ndarray:
    return decode(reader.get(key), f"{reader.path}: {key}")
