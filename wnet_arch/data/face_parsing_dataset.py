"""Pairs of LR and HR faces with parsing maps and landmarks, from an LMDB set of ``wnet prepare`` or from plain folders."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from wnet_arch.data import depth
from wnet_arch.data.decoded import DecodedImages
from wnet_arch.data.decoding import decode_labels, decode_rgb, image_size, image_tensor
from wnet_arch.data.degradation import Degradation
from wnet_arch.data.face_lmdb import LANDMARKS, WIDE, JoinedReader, LMDBReader, decode_landmarks, read_manifest, reduce_bicubic
from wnet_arch.data.jitter import FrameJitter
from wnet_arch.data.sampler import seeded
from wnet_arch.data.set_checks import check_set
from wnet_arch.data.set_paths import find_set, say_once
from wnet_arch.errors import DataError, UsageError, did_you_mean
from wnet_arch.faces import labels, landmarks
from wnet_arch.photo_formats import scan, stem, told

#: Keys of an option block that this data set reads.
OWN_OPTIONS = (
    "dataroot", "dataroot_gt", "dataroot_lq", "dataroot_parsing", "use_hflip", "degradation", "jitter", "landmarks", "cache",
)  # fmt: skip
#: Keys that the framework reads or adds.
FRAMEWORK_OPTIONS = (
    "name", "type", "phase", "scale", "batch_size_per_gpu", "num_worker_per_gpu", "dataset_enlarge_ratio", "prefetch_mode",
    "pin_memory", "persistent_workers", "num_prefetch_queue", "use_shuffle",
)  # fmt: skip


def _bytes(name: str) -> bytes:
    """Of a file's name, which need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape")


class FolderReader:
    """The images of a folder by stem, with the interface of :class:`~wnet_arch.data.face_lmdb.LMDBReader`.

    Raises:
        DataError: the folder does not exist, cannot be read, holds no image, or two images of one stem.
    """

    def __init__(self, path: str):
        self.path = path
        passed: list[tuple[str, str]] = []
        files = sorted(scan(path, passed))
        if passed:
            say_once(f"note: {path}: {told(passed)}")
        self.files: dict[str, str] = {}
        for file in files:
            name = stem(file)
            if name in self.files:
                raise DataError(f"{path} has two images called '{name}': {self.files[name]} and {file}")
            self.files[name] = file
        if not files:
            raise DataError(f"the folder {path} holds no image")
        self.keys = list(self.files)

    def get(self, key: str) -> bytes:
        """The file of one image; raises :class:`DataError` if it cannot be read."""
        path = Path(self.path, self.files[key])
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path} ({error.strerror})") from error

    def size(self, key: str) -> tuple[int, int]:
        """(height, width) of an image, from the head of its file. Raises :class:`DataError` where it is none."""
        return image_size(Path(self.path, self.files[key]))


class PairedFaceParsingDataset(Dataset):
    """LR face, HR face and parsing map.

    Options (a block of ``datasets`` in an option file):

    * ``dataroot``: a set made by ``wnet prepare`` (``gt.lmdb``, ``lq_x8.lmdb`` or that of another scale, ``parsing.lmdb``), or a
      list of sets, drawn from together; or
    * ``dataroot_gt``: a folder of HR images; ``dataroot_lq``: a folder of LR images of the same stems (without it they are
      made from the HR ones by PIL's bicubic filter); ``dataroot_parsing``: a folder of label maps of the same stems (without
      it every map is unknown).
    * ``use_hflip``: mirror at random in training, image, map and landmarks alike, left and right exchanged. Default false.
    * ``degradation``: a block of :class:`~wnet_arch.data.degradation.Degradation`'s attributes, ``{}`` for its defaults: LR faces
      are made from the HR ones, as photos from life have them, and what is stored as LR is not used. In training another one each
      time; in validation always the same for each face. Needed at x1, where the LR face has the HR face's size.
    * ``jitter``: a block of :class:`~wnet_arch.data.jitter.FrameJitter`'s attributes, ``{}`` for its defaults: faces cut out a
      little off their frame, HR image, map and landmarks alike; needs sets made with ``wnet prepare --surround``. The LR image is
      Pillow's bicubic reduction of that, or ``degradation``'s. Drawn as that is.
    * ``landmarks``: give landmarks, too; needs a set made with ``wnet prepare --landmarks``. Default false.

    * ``cache``: keep decoded images in memory, shared by the workers of the loader, decoded once in a run: 64 KiB a face, and
      with ``jitter`` and ``--surround 0.2`` about 240. Default false; a training on GPUs decides by :meth:`keep_decoded`.

    A sample: ``lq`` (3, H / scale, W / scale) and ``gt`` (3, H, W), float32 RGB in [0, 1]; ``parsing`` (H, W) uint8 classes of
    CelebAMask-HQ, 255 = unknown; ``lq_path`` and ``gt_path``, strings. With ``landmarks``: ``landmarks`` (68, 2) float32, x and y
    in pixels of ``gt``, pixel centres at whole numbers, iBUG order; NaN throughout where no face was found.

    Raises:
        UsageError: an option is unknown or missing.
        DataError: a path is missing, key sets differ, the set is not whole (see :func:`wnet_arch.data.set_checks.check_set`), or
            was prepared for other scales, or without landmarks where they are asked for. While reading: an image that is
            unreadable, not square, or not of the size the scale demands, label values that are no classes, and landmarks that
            are no numbers.
    """

    def __init__(self, opt: dict):
        super().__init__()
        known = OWN_OPTIONS + FRAMEWORK_OPTIONS
        for option in opt:
            if option not in known:
                raise UsageError(f"PairedFaceParsingDataset has no option '{option}'{did_you_mean(option, known)}")
        self.opt = opt
        self.scale = opt["scale"]
        self.use_hflip = bool(opt.get("use_hflip", False)) and opt["phase"] == "train"
        self.gt, self.lq, self.parsing = self._open_set() if opt.get("dataroot") else self._open_folders()
        block = opt.get("degradation")
        self.degradation = None if block is None else Degradation.from_options(block)
        if self.scale == 1 and self.degradation is None:
            raise UsageError("at scale 1 LR and HR face are the same, and nothing can be learned: add degradation: {}")
        self.jitter, self.wide, self.surrounds = self._open_wide(opt.get("jitter"))
        self.landmarks = self._open_landmarks() if opt.get("landmarks") else None
        self._check_keys()
        self.keys = self.gt.keys
        self._check_sizes()
        self.decoded: DecodedImages | None = None
        if opt.get("cache"):
            self.keep_decoded()

    def keep_decoded(self, at_most: float = float("inf")) -> bool:
        """Begins to keep decoded images in memory (``cache``), unless they take more than ``at_most`` bytes; says whether."""
        shapes = [image.shape for image in self._decode(self.keys[0])]
        if self.decoded is None and DecodedImages.size(len(self), shapes) <= at_most:
            self.decoded = DecodedImages(len(self), shapes)
        return self.decoded is not None

    def identity(self) -> str:
        """SHA-256 of the names of the images and of the first, middle and last HR file: the same wherever the set lies."""
        digest = hashlib.sha256(_bytes("\n".join(self.keys)))
        for key in (self.keys[0], self.keys[len(self) // 2], self.keys[-1]):
            digest.update(hashlib.sha256(self.gt.get(key)).digest())
        return digest.hexdigest()

    def _open_set(self) -> tuple:
        mixed = [option for option in ("dataroot_gt", "dataroot_lq", "dataroot_parsing") if self.opt.get(option)]
        if mixed:
            raise UsageError(f"give dataroot (a set) or {mixed[0]} (a folder), not both")
        self.roots = self._find_roots()
        for root in self.roots:
            more = [LANDMARKS] * bool(self.opt.get("landmarks")) + [WIDE] * (self.opt.get("jitter") is not None)
            check_set(root, [self.scale] if self.scale > 1 else [], ["parsing", *more])
        lq = self._reader(f"lq_x{self.scale}") if self.scale > 1 else None  # x1: the HR face, which `degradation` changes
        return self._reader("gt"), lq, self._reader("parsing")

    def _find_roots(self) -> list[str]:
        roots = self.opt["dataroot"]
        try:
            return [find_set(root) for root in (roots if isinstance(roots, (list, tuple)) else [roots])]
        except DataError as error:
            raise DataError(f"dataroot: {error}") from error

    def _reader(self, kind: str) -> LMDBReader | JoinedReader:
        paths = [os.path.join(root, f"{kind}.lmdb") for root in self.roots]
        return LMDBReader(paths[0]) if len(paths) == 1 else JoinedReader(paths)

    def _open_landmarks(self) -> LMDBReader | JoinedReader:
        if not self.opt.get("dataroot"):
            raise UsageError("landmarks: true needs dataroot, a set made by `wnet prepare --landmarks`")
        return self._reader(LANDMARKS)

    def _open_wide(self, block: dict | None) -> tuple[FrameJitter | None, LMDBReader | JoinedReader | None, list[float]]:
        """The rule of the frames, the faces with their surroundings, and how wide these are in each set."""
        if block is None:
            return None, None, []
        if not self.opt.get("dataroot"):
            raise UsageError("jitter needs dataroot, a set made by `wnet prepare --surround 0.2`")
        return FrameJitter.from_options(block), self._reader(WIDE), [read_manifest(root)["surround"] for root in self.roots]

    def _open_folders(self) -> tuple:
        if not self.opt.get("dataroot_gt"):
            raise UsageError("dataroot is missing: name a set made by `wnet prepare`, or dataroot_gt (a folder of HR images)")

        def reader(option: str) -> FolderReader | None:
            return FolderReader(os.path.expanduser(self.opt[option])) if self.opt.get(option) else None

        return reader("dataroot_gt"), reader("dataroot_lq"), reader("dataroot_parsing")

    def _check_keys(self) -> None:
        wanted = set(self.gt.keys)
        for other in (self.lq, self.parsing, self.landmarks, self.wide):
            if other is None or wanted == set(other.keys):
                continue
            only_gt, only_other = sorted(wanted - set(other.keys)), sorted(set(other.keys) - wanted)
            lacking, having, names = (other, self.gt, only_gt) if only_gt else (self.gt, other, only_other)
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise DataError(f"{lacking.path} lacks {len(names)} of the images of {having.path}: {shown}")

    def _check_sizes(self) -> None:
        """Looks at the headers of all HR files, so that a run does not stop at one of them hours later."""
        first: tuple[str, int] | None = None
        in_batches = self.opt["phase"] == "train" and (self.opt.get("batch_size_per_gpu") or 1) > 1
        for where, height, width in self._sizes():
            self._check_size(where, width, height)
            first = first or (where, height)
            if in_batches and height != first[1]:
                raise DataError(f"{where} is {width}x{height}, {first[0]} {first[1]}x{first[1]}; batches need HR faces of one size")

    def _sizes(self) -> Iterator[tuple[str, int, int]]:
        """Where, height and width: of the first face of each set, or of each file of a folder."""
        if isinstance(self.gt, FolderReader):
            yield from ((os.path.join(self.gt.path, self.gt.files[key]), *self.gt.size(key)) for key in self.keys)
            return
        for reader in getattr(self.gt, "readers", [self.gt]):
            yield reader.path, *decode_rgb(reader.get(reader.keys[0]), f"{reader.path}: {reader.keys[0]}").shape[:2]

    def _check_size(self, where: object, width: int, height: int) -> None:
        if width != height or height % self.scale:
            raise DataError(f"{where} is {width}x{height}; HR faces are square, with a side that is a multiple of {self.scale}")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> dict:
        if self.opt["phase"] == "train" or not (self.jitter or self.degradation):
            return self._drawn(index)  # the loader has seeded the draw
        with seeded(*_bytes(self.keys[index])):
            return self._drawn(index)

    def _drawn(self, index: int) -> dict:
        key = self.keys[index]
        gt, lq, parsing, *wide = self._images(index)
        points = self._read_landmarks(key)
        square = self.jitter.draw() if self.jitter else None
        if square:
            gt, parsing = square.image(wide[0], self._surround(key), gt.shape[0]), square.map(parsing, gt.shape[0])
            lq = reduce_bicubic(gt, self.scale)
            points = None if points is None else square.points(points, gt.shape[0])
        if self.use_hflip and random.random() < 0.5:
            gt, lq, parsing = gt[:, ::-1], lq[:, ::-1], labels.flip(parsing)
            points = None if points is None else landmarks.flip(points, gt.shape[1])
        if self.degradation:
            gt, lq = self.degradation(np.ascontiguousarray(gt), self.scale)
        sample = {
            "lq": image_tensor(lq),
            "gt": image_tensor(gt),
            "parsing": torch.from_numpy(np.array(parsing)),
            "lq_path": f"{key.replace('/', '_')}.png",
            "gt_path": f"{key.replace('/', '_')}.png",
        }
        if points is not None:
            sample["landmarks"] = torch.from_numpy(points)
        return sample

    def _surround(self, key: str) -> float:
        return self.surrounds[int(key.partition("/")[0]) if len(self.surrounds) > 1 else 0]

    def _images(self, index: int) -> Sequence[np.ndarray]:
        """HR, LR and map of a sample, and with ``jitter`` the face with its surroundings; uint8, not to be changed."""
        kept: Sequence[np.ndarray] | None = self.decoded.get(index) if self.decoded else None
        if kept is None:
            kept = self._decode(self.keys[index])
            if self.decoded:
                self.decoded.put(index, kept)
        return kept

    def _decode(self, key: str) -> Sequence[np.ndarray]:
        gt = self._read_gt(key)
        images = gt, self._read_lq(key, gt), self._read_parsing(key, gt)
        return images if self.wide is None else (*images, decode_rgb(self.wide.get(key), f"{self.wide.path}: {key}"))

    def _read_gt(self, key: str) -> np.ndarray:
        where = f"{self.gt.path}: {key}"
        gt = decode_rgb(self.gt.get(key), where)
        self._check_size(where, gt.shape[1], gt.shape[0])
        extreme = depth.extreme(gt) if isinstance(self.gt, FolderReader) else ""  # `wnet prepare` keeps no such face in a set
        if extreme:
            raise DataError(f"{where} is {extreme}, with values of {gt.min()} to {gt.max()}: no face to learn from; take it out")
        return gt

    def _read_lq(self, key: str, gt: np.ndarray) -> np.ndarray:
        if self.lq is None:
            return reduce_bicubic(gt, self.scale)
        where = f"{self.lq.path}: {key}"
        lq = decode_rgb(self.lq.get(key), where)
        side = gt.shape[0] // self.scale
        if lq.shape[:2] != (side, side):
            raise DataError(f"{where} is {lq.shape[1]}x{lq.shape[0]}; x{self.scale} of a {gt.shape[0]}-pixel face is {side}x{side}")
        return lq

    def _read_parsing(self, key: str, gt: np.ndarray) -> np.ndarray:
        if self.parsing is None:
            return np.full(gt.shape[:2], labels.UNKNOWN, np.uint8)
        where = f"{self.parsing.path}: {key}"
        parsing = decode_labels(self.parsing.get(key), where)
        if parsing.shape != gt.shape[:2]:
            raise DataError(f"{where} is {parsing.shape[1]}x{parsing.shape[0]}; its photo is {gt.shape[1]}x{gt.shape[0]}")
        return parsing

    def _read_landmarks(self, key: str) -> np.ndarray | None:
        if self.landmarks is None:
            return None
        return decode_landmarks(self.landmarks.get(key), f"{self.landmarks.path}: {key}")
