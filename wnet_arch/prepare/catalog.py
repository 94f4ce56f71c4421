"""Data sets by name: where each comes from, how its folder is laid out, which photos are for training and which for tests.

The docstring of each class is what ``wnet prepare NAME --help`` shows.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wnet_arch.errors import DataError, NothingToDoError, UsageError
from wnet_arch.photo_formats import scan, told
from wnet_arch.plugins import PHOTO_SOURCES, Classes
from wnet_arch.prepare.splits import NumberSplit, read_split

FOLDER = "folder"


class PhotoSource:
    """Photos in a folder, not in its sub-folders.

    Args:
        root: folder of the data set.
        mode: one of :attr:`modes`.
        crop: the crop rule, for data sets that come in several crops.

    Attributes:
        name: as ``wnet prepare`` takes it.
        images: folder that names are relative to.
        splits: names of the splits, empty for one undivided set.
        expected: how many photos there should be, by split (``""`` without splits); empty where nobody knows.
        notes: what cannot be reproduced exactly, and why.
        record: what a manifest says about all this, once :meth:`scan` is through; ``None`` for a mere folder.
        passed: files that :meth:`names` has passed over, relative to :attr:`images`, each with the reason.

    Raises:
        DataError: the folder is laid out in another way.
    """

    modes: tuple[str, ...] = ()
    #: Options of ``wnet prepare`` that suit the data set, for those which are not given.
    defaults: dict = {}

    def __init__(self, root: Path, mode: str | None, crop: str):
        self.name, self.images, self.mode = FOLDER, Path(root), mode
        self.splits: tuple[str, ...] = ()
        self.expected: dict[str, int] = {}
        self.notes: tuple[str, ...] = ()
        self.record: dict | None = None
        self.passed: list[tuple[str, str]] = []

    @property
    def labels(self) -> Path | None:
        """Folder of the label maps that belong to the data set, ``None`` if it has none."""
        return None

    @classmethod
    def landmarks(cls, root: Path, crop: str | None, all_points: bool) -> Path | None:
        """A landmark file that comes with the data set, if it suits the crop rule. ``all_points``: 68 are wanted, not 5."""
        return None

    def names(self) -> Iterator[str]:
        """Names of all photos, relative to :attr:`images`, in any order."""
        return self.photos_in()

    def photos_in(self, folder: str = "") -> Iterator[str]:
        """Names of the photos of a folder in :attr:`images`, relative to that; the others go to :attr:`passed`."""
        passed: list[tuple[str, str]] = []
        for name in scan(self.images / folder, passed):
            yield os.path.join(folder, name)
        self.passed += ((os.path.join(folder, name), reason) for name, reason in passed)

    def split_of(self, name: str) -> str | None:
        """The split of a photo, ``""`` without splits; ``None`` if it is not part of this mode."""
        return ""

    def scan(self, partial: bool = False) -> Iterator[str]:
        """Names of the photos of this mode. At the end, counts are compared with the expected ones.

        Args:
            partial: be content with what is there.

        Raises:
            DataError: the folder cannot be read, or photos are missing or too many.
            NothingToDoError: there is no photo at all.
        """
        found: Counter = Counter()
        self.passed.clear()
        for name in self.names():
            split = self.split_of(name)
            if split is not None:
                found[split] += 1
                yield name
        if not found:
            passed = f"; {told(self.passed)}" if self.passed else ""
            raise NothingToDoError(f"{self.images} holds no photo (sub-folders are not searched){passed}")
        counts = {split: found[split] for split in self.splits or ("",)}
        if self.expected and counts != self.expected and not partial:
            raise DataError(
                f"{self.images}: expected {_counted(self.expected)} photos, found {_counted(counts)}; "
                "complete the data set, or --partial to go on with what is there"
            )
        if self.expected or self.splits:
            self.record = {
                "name": self.name,
                "mode": self.mode,
                "splits": list(self.splits),
                "expected": self.expected,
                "found": counts,
                "partial": bool(self.expected) and counts != self.expected,
                "notes": [*self.notes, *self._empty(counts)],
            }

    @staticmethod
    def _empty(counts: dict[str, int]) -> list[str]:
        """What to know of splits without a photo: option files name their sets."""
        empty = [split for split, count in counts.items() if split and not count]
        what = "these sets are" if len(empty) > 1 else "this set is"
        note = f"none of the photos belongs to {' or '.join(empty)}: {what} not made, and option files need another there"
        return [note] if empty else []


class CelebA(PhotoSource):
    """CelebA (Liu et al., ICCV 2015): 202,599 photos of 10,177 people, numbered 000001 to 202599.

    From:    https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (for non-commercial research)
    Layout:  DIR/Img/img_align_celeba/000001.jpg ...   the aligned photos, 178x218 (or img_align_celeba_png/*.png)
             DIR/Img/img_celeba/000001.jpg ...         the photos in the wild, if another crop is wanted
             Folders are found without Img/, too, and DIR may be the folder of the photos itself.
             DIR/Anno/list_landmarks_celeba.txt, list_landmarks_align_celeba.txt: used by --crop five-point, if there
    Crop:    celeba-aligned. Any other rule takes the photos in the wild, if they are there.

    Modes:   I         training mode I of the paper, the split of DIC: train, val, test
             II        training mode II, the split of FSRNet: train 000001-018000, test 018001-018100; val 018101-018200 is ours
             official  CelebA's own partition: train, val, test
             all       no split
    The lists are datasets/celeba_I.txt, celeba_II.txt and celeba_official.txt.

    Not exactly reproducible:
             Mode I. DIC trained on 168,854 of the photos before its test photos: those whose OpenFace points agreed with CelebA's
             own five, cropped to OpenFace's boxes. Neither points, boxes nor the list are published. Here training takes all
             201,317 photos, validation the last 100 before the test photos; the 1,000 test photos are the same, their crop
             is not.
             Mode II. FSRNet's coarse crop is not published, and it has no validation set.
    """

    modes = ("I", "II", "official", "all")
    defaults = {"crop": "celeba-aligned"}
    _ALIGNED = (
        "Img/img_align_celeba", "img_align_celeba", "Img/img_align_celeba_png", "img_align_celeba_png",
    )  # fmt: skip
    _WILD = ("Img/img_celeba", "img_celeba")
    _COUNT = 202_599
    _NOTES = {
        "I": (
            "DIC trained on 168,854 photos chosen and cropped by OpenFace; points, boxes and list are unpublished. Here: all "
            "201,317 photos that come before, and 100 for validation",
            "the 1,000 test photos are DIC's, their crop is not",
        ),
        "II": ("FSRNet's coarse crop is unpublished", "FSRNet has no validation set; here: the 100 photos after its test photos"),
    }

    def __init__(self, root: Path, mode: str | None, crop: str):
        super().__init__(root, mode, crop)
        if mode is None:
            raise UsageError(f"celeba needs --mode: {', '.join(self.modes)}")
        wanted = self._ALIGNED if crop == "celeba-aligned" else (*self._WILD, *self._ALIGNED)
        self.images = _first_folder(root, wanted)
        self._split: NumberSplit | None = None if mode == "all" else read_split(f"celeba_{mode}")
        self.splits = self._split.names if self._split else ()
        self.expected = self._split.counts if self._split else {"": self._COUNT}
        self.notes = self._NOTES.get(mode, ())

    @classmethod
    def landmarks(cls, root: Path, crop: str | None, all_points: bool) -> Path | None:
        if crop != "five-point" or all_points:
            return None
        wild = any((root / name).is_dir() for name in cls._WILD)
        name = "list_landmarks_celeba.txt" if wild else "list_landmarks_align_celeba.txt"
        return next((path for path in (root / "Anno" / name, root / name) if path.is_file()), None)

    def names(self) -> Iterator[str]:
        for name in self.photos_in():
            if re.fullmatch(r"\d{6}\.\w+", name):
                yield name
            else:
                self.passed.append((name, "not called as CelebA's photos are"))

    def split_of(self, name: str) -> str | None:
        number = int(Path(name).stem)
        if self._split is None:
            return "" if 1 <= number <= self._COUNT else None
        return self._split.of(number)


class Helen(PhotoSource):
    """Helen (Le et al., ECCV 2012): 2,330 photos; in the edition of iBUG 300-W with 68 hand-made landmarks each.

    From:    https://ibug.doc.ic.ac.uk/resources/300-W/ (for non-commercial research); the photos alone from their authors,
             http://www.ifp.illinois.edu/~vuongle2/helen/
    Layout:  DIR/trainset/NAME.jpg, NAME.pts    2,000 photos (also train/, or the authors' train_1/ ... train_4/)
             DIR/testset/NAME.jpg, NAME.pts     330 photos (also test/)
             DIR may also hold a folder helen/ with these. The authors' annotation of 194 points is not used: the crop rule
             needs the 68 points.
    Crop:    landmarks, from the .pts files if they are there (--detector looks for the faces instead).

    Modes:   official  2,000 train, 330 test (default)
             last50    2,280 train, 50 test: the last 50 photos of the test folder by name

    Not exactly reproducible:
             The papers train on 2,005 photos and test on 50; which of the photos these are is not published by name, only as
             crops. FSRNet numbers its 50 test crops 18241, 18249, ... 18633, eight versions a photo: the photos 2281 to 2330
             of 2,330. In which order it counted them is unknown; last50 takes the order of names. DIC's own 50 crops, which
             its authors publish, become a set by `wnet prepare folder --root DIR --parser compact --out datasets/helen50_dic`.
    """

    modes = ("official", "last50")
    defaults = {"crop": "landmarks"}
    _TRAIN, _TEST = ("trainset", "train", "train_1", "train_2", "train_3", "train_4"), ("testset", "test")

    def __init__(self, root: Path, mode: str | None, crop: str):
        super().__init__(root, mode, crop)
        if Path(root, "helen").is_dir():
            self.images = Path(root, "helen")
        self.mode, self.splits = mode or "official", ("train", "test")
        self.expected = {"train": 2000, "test": 330} if self.mode == "official" else {"train": 2280, "test": 50}
        division = "the official division" if self.mode == "official" else "the last 50 test photos by name"
        self.notes = (f"the papers' 2,005 and 50 photos are not published by name; here {division}",)
        self._folders = [name for name in (*self._TRAIN, *self._TEST) if (self.images / name).is_dir()]
        if not self._folders:
            raise DataError(f"{root} holds neither trainset nor testset: see `wnet prepare helen --help` for the layout")

    @classmethod
    def landmarks(cls, root: Path, crop: str | None, all_points: bool) -> Path | None:
        folder = root / "helen" if (root / "helen").is_dir() else root
        has_points = any(True for name in cls._TRAIN for _ in (folder / name).glob("*.pts"))
        return folder if has_points and crop in ("landmarks", "five-point") else None

    def names(self) -> Iterator[str]:
        for folder in self._folders:
            for name in self.photos_in(folder):
                if not Path(name).stem.endswith("_mirror"):
                    yield name
                else:  # some copies of 300-W hold every photo mirrored as well
                    self.passed.append((name, "mirrored"))

    def split_of(self, name: str) -> str | None:
        if self.mode == "last50":
            return "test" if name in self._last_of_test else "train"
        return "test" if name.partition("/")[0] in self._TEST else "train"

    @functools.cached_property
    def _last_of_test(self) -> frozenset[str]:
        folders = (folder for folder in self._folders if folder in self._TEST)
        names = (f"{folder}/{name}" for folder in folders for name in scan(self.images / folder))
        return frozenset(sorted(name for name in names if not Path(name).stem.endswith("_mirror"))[-50:])


class CelebAMask(PhotoSource):
    """CelebAMask-HQ (Lee et al., CVPR 2020): 30,000 photos with hand-made maps of 19 classes.

    From:    https://github.com/switchablenorms/CelebAMask-HQ (for non-commercial research)
    Layout:  DIR/CelebA-HQ-img/0.jpg ...                                        photos, 1024x1024
             DIR/CelebAMask-HQ-mask-anno/0/00000_skin.png ...                   a 512x512 mask for each part of each face
             DIR/CelebA-HQ-to-CelebA-mapping.txt                                for --mode official
             or DIR/images/NAME.jpg and DIR/labels/NAME.png, one map a photo, pixel value = class.
             Masks of parts are joined in the order of the classes, later ones over earlier ones, as its authors do. With
             --parser, their maps are not used.
    Crop:    none, the photos are square.

    Modes:   all       no split (default)
             official  by CelebA's partition: 24,183 train, 2,993 val, 2,824 test
    """

    modes = ("all", "official")
    _MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"

    def __init__(self, root: Path, mode: str | None, crop: str):
        super().__init__(root, mode or "all", crop)
        self.images = _first_folder(root, ("CelebA-HQ-img", "images"))
        self.root, self.expected = Path(root), {"": 30_000}
        self._split_by_key: dict[str, str | None] | None = None
        if self.mode == "official":
            self.splits, self.expected = ("train", "val", "test"), {"train": 24_183, "val": 2_993, "test": 2_824}
            self._split_by_key = self._read_mapping(Path(root, self._MAPPING))

    @property
    def labels(self) -> Path | None:
        for name in ("CelebAMask-HQ-mask-anno", "labels"):
            if Path(self.root, name).is_dir():
                return Path(self.root, name)
        raise DataError(f"{self.root} holds neither CelebAMask-HQ-mask-anno nor labels; --parser makes maps without them")

    def split_of(self, name: str) -> str | None:
        if self._split_by_key is None:
            return ""
        number = Path(name).stem
        return self._split_by_key.get(str(int(number)) if number.isdecimal() else number)  # 00000.jpg is idx 0

    @staticmethod
    def _read_mapping(path: Path) -> dict[str, str | None]:
        """The split of each photo by its stem: line ``idx orig_idx orig_file``, ``orig_file`` is CelebA's name."""
        split = read_split("celeba_official")
        try:
            rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
            return {row[0]: split.of(int(Path(row[2]).stem)) for row in rows}
        except (OSError, ValueError, IndexError) as error:
            raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not a list idx orig_idx file'}") from error


_OWN = {"celeba": CelebA, "helen": Helen, "celebamask": CelebAMask, FOLDER: PhotoSource}
_SOURCES: Classes[PhotoSource] = Classes(PHOTO_SOURCES, _OWN, PhotoSource)
#: Names that ``wnet prepare`` takes: ours, and those of installed packages.
NAMES = tuple(_SOURCES)


def open_source(name: str, root: Path, mode: str | None, crop: str) -> PhotoSource:
    """Opens a data set.

    Args:
        name: one of :data:`NAMES`.
        root: its folder.
        mode: see the data set.
        crop: name of the crop rule.

    Raises:
        DataError: the folder is not laid out as that data set.
    """
    source = _SOURCES[name](Path(root), mode, crop)
    source.name = name
    return source


def modes(name: str) -> tuple[str, ...]:
    """Modes of a data set; none where the package that brings it is broken, which :func:`open_source` says."""
    try:
        return _SOURCES[name].modes
    except UsageError:
        return ()


def check(name: str, mode: str | None) -> None:
    """Raises UsageError unless there is such a data set with such a mode."""
    if name not in _SOURCES:
        raise UsageError(f"there is no data set '{name}'; known are {', '.join(NAMES)}")
    if mode is not None and mode not in modes(name):
        raise UsageError(f"--mode {mode}: {name} has {', '.join(modes(name)) or 'no modes'}")


def defaults(name: str, root: Path, given: dict) -> dict:
    """Options that suit a data set: the crop rule, and its own landmarks unless options about faces are given.

    Args:
        name: one of :data:`NAMES`.
        root: its folder.
        given: options of ``wnet prepare`` that the user has chosen, by name.
    """
    source = _SOURCES[name]
    found = dict(source.defaults)
    if not given.keys() & {"landmarks_file", "detector", "landmarker", "face"}:
        crop = given.get("crop", found.get("crop"))
        all_points = crop == "landmarks" or given.get("landmarks", False) or given.get("parser") == "landmarks"
        found["landmarks_file"] = source.landmarks(Path(root), crop, all_points)
    return found


def title(name: str) -> str:
    """One line about a data set."""
    return describe(name).partition("\n")[0].rstrip(".")


def describe(name: str) -> str:
    """All about a data set: source, layout, crop, modes, and what cannot be reproduced; or why it cannot be used."""
    try:
        return (inspect.getdoc(_SOURCES[name]) or name).partition("\nArgs:")[0]
    except UsageError as error:
        return str(error)


def _first_folder(root: Path, candidates: tuple[str, ...]) -> Path:
    for found in (Path(root, candidate) for candidate in candidates):
        if found.is_dir():
            inner = found / found.name  # as some archives unpack
            return inner if inner.is_dir() else found
    if any(True for _ in scan(root)):
        return Path(root)
    raise DataError(f"{root} holds neither {candidates[0]} nor photos")


def _counted(counts: dict[str, int]) -> str:
    return " + ".join(f"{count:,} {split}".rstrip() for split, count in counts.items())
