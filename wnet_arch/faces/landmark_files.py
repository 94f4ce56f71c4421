"""Landmarks that someone else has found or set by hand, read from a file instead of detected.

Three forms, told apart by what is there:

* CSV with a header that names the columns ``name`` and ``x0, y0, x1, y1, ...`` (68 or 5 points; other columns are ignored).
  Pixel centres at whole numbers, the first pixel is 0.
* a folder, with sub-folders, of 300-W's ``NAME.pts`` files. Their first pixel is 1, so one is subtracted.
* CelebA's ``list_landmarks_celeba.txt`` and ``list_landmarks_align_celeba.txt``: 5 points. First pixel 0, as in CSV.

Photos are matched by their name without suffix, of which ``.2`` in ``anna.2`` is none.
"""

from __future__ import annotations

import csv
import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wnet_arch.errors import DataError
from wnet_arch.faces.landmarks import NUM_POINTS, Face, five_points
from wnet_arch.photo_formats import stem
from wnet_arch.weights.hashing import sha256_file
from wnet_arch.words import counted

_COUNTS = (NUM_POINTS, 5)


class LandmarkFile:
    """Finds faces by looking their photo up. Can replace :class:`~wnet_arch.faces.landmarks.LandmarkDetector`.

    Args:
        path: of a file or folder in one of the forms above.

    Attributes:
        count: points of each face, 68 (iBUG's order) or 5 (eyes, nose, corners of the mouth; the image's left ones first).

    Raises:
        DataError: it cannot be read or is none of these; the message has the file and the line.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._places: dict[str, int] = {}
        values = array("f")
        for where, name, points in _entries(self.path):
            if not self._places:
                self.count = len(points)
            if len(points) != self.count:
                raise DataError(f"{where}: {counted(len(points), 'point')}, the others have {self.count}")
            with np.errstate(over="ignore"):
                points = points.astype(np.float32)
            if not np.isfinite(points).all():
                raise DataError(f"{where}: a coordinate is not a finite number")
            if name in self._places:
                raise DataError(f"{where}: a second line for {name}")
            self._places[name] = len(self._places)
            values.extend(points.ravel().tolist())
        if not self._places:
            raise DataError(f"{self.path} holds no landmarks")
        self._values = np.frombuffer(values, np.float32).reshape(len(self._places), self.count, 2).copy()

    def __len__(self) -> int:
        return len(self._places)

    def find(self, rgb: np.ndarray, name: str) -> Face | None:
        """The face of the photo called ``name``, or ``None`` where the file has none. The photo itself is not looked at."""
        place = self._places.get(stem(Path(name).name))
        if place is None:
            return None
        points = self._values[place].copy()
        box = (*points.min(0).tolist(), *(points.max(0) + 1).tolist())
        return Face(box, points, five_points(points)) if self.count == NUM_POINTS else Face(box, None, points)


def sha256(path: Path) -> str:
    """SHA-256 of a landmark file; of a folder, that of the lines ``hash  name`` of its ``.pts`` files, names sorted.

    Raises:
        DataError: it cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            return sha256_file(path)
        files = _pts_files(path)
        lines = "".join(f"{sha256_file(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read landmarks from {path}: {error.strerror}") from error


def _entries(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """``(file and line, name of the photo without suffix, points (N, 2))``."""
    try:
        if path.is_dir():
            yield from ((str(file), file.stem, _read_pts(file)) for file in _pts_files(path))
            return
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            yield from (_celeba_lines if first.strip().isdecimal() else _csv_lines)(path, file)
    except OSError as error:
        raise DataError(f"cannot read landmarks from {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no file of landmarks: {error}") from error


def _pts_files(folder: Path) -> list[Path]:
    """Hidden ones, such as macOS's ``._x.pts``, are no landmarks."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".pts" and not p.name.startswith(".") and p.is_file())


def _csv_lines(path: Path, file) -> Iterator[tuple[str, str, np.ndarray]]:
    reader = csv.reader(file)
    header = [name.strip() for name in next(reader, [])]
    count = sum(name[:1] == "x" and name[1:].isdecimal() for name in header)
    wanted = [f"{axis}{i}" for i in range(count) for axis in "xy"]
    if "name" not in header or count not in _COUNTS or not set(wanted) <= set(header):
        raise DataError(f"{path} line 1: a header with the columns name, x0, y0, ..., x67, y67 (or x4, y4) is wanted")
    columns = [header.index(name) for name in wanted]
    for row in reader:
        where = f"{path} line {reader.line_num}"
        if row:
            if len(row) != len(header):
                raise DataError(f"{where}: {len(row)} fields, the header has {len(header)}")
            yield where, stem(Path(row[header.index("name")]).name), _numbers([row[c] for c in columns], where)


def _celeba_lines(path: Path, file) -> Iterator[tuple[str, str, np.ndarray]]:
    """A line with the number of photos, one with the names of the columns, then a line a photo."""
    count = int(file.readline())
    file.readline()
    found = 0
    for number, line in enumerate(file, 3):
        words = line.split()
        if not words:
            continue
        if len(words) != 11:
            raise DataError(f"{path} line {number}: {len(words)} words, a photo and 10 numbers are wanted")
        found += 1
        yield f"{path} line {number}", stem(Path(words[0]).name), _numbers(words[1:], f"{path} line {number}")
    if found != count:
        raise DataError(f"{path} has {counted(found, 'photo')}, its first line says {count}")


def _read_pts(path: Path) -> np.ndarray:
    """Points of a 300-W file: ``version``, ``n_points``, then the points in braces."""
    points, expected, inside = [], None, False
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no file of landmarks: {error}") from error
    for number, line in enumerate(lines, 1):
        words, where = line.split(), f"{path} line {number}"
        if not words or (not inside and words[0].startswith("version")):
            continue
        if words[0] == "}":
            break
        if inside:
            if len(words) != 2:
                raise DataError(f"{where}: {len(words)} words, x and y are wanted")
            points.append(_numbers(words, where)[0])
        elif words[0] == "{":
            inside = True
        elif words[0].startswith("n_points"):
            expected = line.partition(":")[2].strip()
        else:
            raise DataError(f"{where}: version, n_points or {{ is wanted, not {words[0][:20]}")
    if str(len(points)) != expected or len(points) not in _COUNTS:
        raise DataError(f"{path} has {counted(len(points), 'point')}, n_points says {expected}; 68 or 5 are wanted")
    return np.stack(points) - 1


def _numbers(words: list[str], where: str) -> np.ndarray:
    try:
        return np.array([float(word) for word in words]).reshape(-1, 2)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
