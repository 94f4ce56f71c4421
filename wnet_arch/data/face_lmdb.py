"""Face sets on disk: one LMDB a kind, in BasicSR's layout, and a manifest that says how the set was made.

    NAME/gt.lmdb/{data.mdb, meta_info.txt}        RGB, size x size
    NAME/lq_x4.lmdb, NAME/lq_x8.lmdb              RGB, reduced by PIL's bicubic filter
    NAME/parsing.lmdb                             classes of wnet_arch.faces.labels, one channel, 255 = unknown
    NAME/landmarks.lmdb                           if asked for: 68 points (x, y) in pixels of the HR image, float32
    NAME/wide.lmdb                                if asked for: RGB, the face and what is around it, see :func:`wide_side`
    NAME/manifest.json

Keys are names without extension, values are PNG files; ``meta_info.txt`` has a line ``key.png (h,w,c) level`` each. BasicSR's
own ``PairedImageDataset`` reads ``gt.lmdb`` with ``lq_x8.lmdb``. Landmarks are plain numbers, see :func:`encode_landmarks`,
named ``key.f32 (68,2,1) 0``.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import lmdb
import numpy as np
from PIL import Image

from wnet_arch.errors import DataError, WNetError
from wnet_arch.faces.landmarks import NUM_POINTS

FORMAT, VERSION = "wnet face set", 1
MANIFEST = "manifest.json"
#: The LMDB whose values are no PNG files.
LANDMARKS = "landmarks"
#: The LMDB of faces with their surroundings, and how dense its pixels are by those of the HR image: a square cut out of it at any
#: place and angle (:class:`wnet_arch.data.jitter.Square`) is as sharp as one of the photo. Of faces of CelebA, cut out so, the
#: Laplacian has 0.95 to 1.05 times its spread; at 1.0, 0.87 times, at 1.5, 1.1 to 1.2 times.
WIDE, WIDE_DENSITY = "wide", 1.2
#: zlib level of the stored PNG files: decoding speed hardly depends on it, encoding speed does.
PNG_LEVEL = 1
#: LMDB refuses longer keys.
MAX_KEY_BYTES = 511


def reduce_bicubic(image: np.ndarray, scale: int) -> np.ndarray:
    """LR image of an 8-bit HR one, uint8 (H, W, 3): Pillow's bicubic filter, 8-bit result (H / scale, W / scale, 3)."""
    size = (image.shape[1] // scale, image.shape[0] // scale)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def wide_side(size: int, surround: float) -> int:
    """Side in pixels of the images in ``wide.lmdb``: the frame of an HR image of ``size`` and ``surround`` of it on each side."""
    return round(size * WIDE_DENSITY * (1 + 2 * surround))


def encode_png(image: np.ndarray) -> bytes:
    """Encodes RGB uint8 (H, W, 3) or one-channel uint8 (H, W) as PNG."""
    image = image[..., ::-1] if image.ndim == 3 else image  # OpenCV expects BGR
    ok, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not ok:
        raise WNetError(f"OpenCV cannot encode an image of shape {image.shape} as PNG")
    return data.tobytes()


def encode_landmarks(points: np.ndarray | None) -> bytes:
    """Encodes points (68, 2) as 136 little-endian float32 numbers; ``None``, no face was found, as NaN throughout."""
    if points is None:
        points = np.full((NUM_POINTS, 2), np.nan)
    if np.shape(points) != (NUM_POINTS, 2):
        raise WNetError(f"landmarks are {NUM_POINTS} points (x, y), these have the shape {np.shape(points)}")
    return np.asarray(points, "<f4").tobytes()


def decode_landmarks(data: bytes, where: str) -> np.ndarray:
    """Decodes what :func:`encode_landmarks` made: float32 (68, 2), all NaN where no face was found.

    Raises:
        DataError: the bytes are something else.
    """
    if len(data) != 8 * NUM_POINTS:
        raise DataError(f"{where} holds {len(data)} bytes; {NUM_POINTS} landmarks are {8 * NUM_POINTS}")
    points = np.frombuffer(data, "<f4").astype(np.float32).reshape(NUM_POINTS, 2)
    if not (np.isfinite(points).all() or np.isnan(points).all()):
        raise DataError(f"{where} holds landmarks that are not all finite")
    return points


def read_keys(path: str | os.PathLike) -> list[str]:
    """Keys of one LMDB, in the order of its ``meta_info.txt``.

    Raises:
        DataError: there is no such LMDB, or its ``meta_info.txt`` is missing, damaged or empty.
    """
    meta = Path(path, "meta_info.txt")
    try:
        lines = meta.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not an image LMDB: cannot read meta_info.txt ({_reason(error)})") from error
    # As BasicSR does, up to the first dot: names in meta_info.txt have a suffix, keys hold no dot.
    keys = [line.split(".")[0] for line in lines if line.strip()]
    if not keys:
        raise DataError(f"{meta} names no image")
    return keys


def read_manifest(folder: str | os.PathLike) -> dict:
    """The manifest of a face set.

    Raises:
        DataError: ``folder`` is not a face set, or was made by a newer version of this package.
    """
    try:
        manifest = json.loads(Path(folder, MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a face set: cannot read {MANIFEST} ({_reason(error)})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{folder} is not a face set: its {MANIFEST} was written by something else")
    if manifest.get("version") != VERSION:
        raise DataError(f"{folder} has format version {manifest.get('version')}; this package reads {VERSION}")
    return manifest


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def open_whole(path: str | os.PathLike, **options) -> lmdb.Environment:
    """Opens an LMDB to read, after a look whether its file is as long as its header says.

    The library maps the file into memory: reading past its end would kill the process (SIGBUS) without a word.

    Raises:
        DataError: the file is missing, empty or cut off.
        lmdb.Error: it is something else.
    """
    data = Path(path, "data.mdb")
    try:
        size = data.stat().st_size
    except OSError as error:
        raise DataError(f"{path} has no data.mdb ({error.strerror}): copy or prepare the set again") from error
    if not size:
        raise DataError(f"{data} is empty: copy or prepare the set again")
    env = lmdb.open(os.fspath(path), readonly=True, lock=False, **options)
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if size < needed:
        env.close()
        raise DataError(f"{data} is cut off: {size} bytes of {needed}; copy or prepare the set again")
    return env


class _Environment:
    """An open LMDB, shared by all readers of one process: the library refuses to open a path twice in a process."""

    _open: weakref.WeakValueDictionary[str, _Environment] = weakref.WeakValueDictionary()

    def __init__(self, path: str):
        self.pid = os.getpid()
        self.env = open_whole(path, readahead=False, max_spare_txns=8)

    @classmethod
    def of(cls, path: str) -> _Environment:
        path = os.path.realpath(path)
        found = cls._open.get(path)
        if found is None or found.pid != os.getpid():
            if found is not None:
                found.env.close()  # inherited through fork; closing it here leaves the parent's alone
            found = cls._open[path] = cls(path)
        return found


class LMDBReader:
    """Reads images, or landmarks, of one LMDB by key. Light to create, can be pickled, opens the file in each process on first use.

    Args:
        path: folder of the LMDB.

    Raises:
        DataError: ``path`` is not an image LMDB.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self.keys = read_keys(path)
        self._environment: _Environment | None = None

    def get(self, key: str) -> bytes:
        """What is stored under ``key``: a PNG file, or landmarks.

        Raises:
            DataError: there is no such key, or the LMDB cannot be read.
        """
        if self._environment is None or self._environment.pid != os.getpid():
            self._environment = self._opened()
        try:
            with self._environment.env.begin() as txn:
                value = txn.get(key.encode())
        except lmdb.Error as error:
            raise DataError(f"{self.path}: cannot read key '{key}' ({error})") from error
        if value is None:
            raise DataError(f"{self.path} has no key '{key}'")
        return value

    def stored_keys(self) -> Iterator[str]:
        """The keys in the LMDB itself, in the order of their bytes. Raises :class:`DataError`: it cannot be read."""
        try:
            with self._opened().env.begin() as txn:
                yield from (key.decode("utf-8", "replace") for key in txn.cursor().iternext(values=False))
        except lmdb.Error as error:
            raise DataError(f"{self.path}: its keys cannot be read ({error})") from error

    def _opened(self) -> _Environment:
        try:
            return _Environment.of(self.path)
        except lmdb.Error as error:
            if "already open" in str(error):  # the library has no exception of its own for it
                todo = "LMDB opens a path once in a process; read it by PairedFaceParsingDataset alone, or read a copy"
                raise DataError(f"{self.path} is open for another reader, BasicSR's own perhaps: {todo}") from error
            raise DataError(f"{self.path} cannot be opened ({error})") from error

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_environment": None}


class JoinedReader:
    """Several LMDBs as one, with the interface of :class:`LMDBReader`; ``1/face`` is the key ``face`` of the second.

    Args:
        paths: folders of the LMDBs.

    Raises:
        DataError: one of them is not an image LMDB.
    """

    def __init__(self, paths: Sequence[str]):
        self.readers = [LMDBReader(path) for path in paths]
        self.path = " + ".join(paths)
        self.keys = [f"{number}/{key}" for number, reader in enumerate(self.readers) for key in reader.keys]

    def get(self, key: str) -> bytes:
        """The file of one image, by a key of :attr:`keys`."""
        number, _, rest = key.partition("/")
        return self.readers[int(number)].get(rest)


class GrowingLMDB:
    """Writes one LMDB whose map doubles whenever it is full, so that no size has to be guessed.

    Args:
        path: folder of the LMDB, created if missing.
        map_size: bytes to start with.
    """

    def __init__(self, path: str | os.PathLike, map_size: int = 16 << 20):
        self.path = os.fspath(path)
        os.makedirs(self.path, exist_ok=True)
        data = os.path.join(self.path, "data.mdb")
        while os.path.exists(data) and map_size < os.path.getsize(data):
            map_size *= 2
        self.map_size = map_size
        # One process writes, guarded by the lock of the unfinished set: no lock.mdb that would differ between runs.
        self._env = lmdb.open(self.path, map_size=map_size, lock=False)

    def write(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Stores a batch in one transaction: all or nothing. Keys that are there already are left as they are.

        What is written in the order of keys, in batches of one size, gives one file byte for byte. (LMDB's own compacting
        copy keeps the unused ends of pages, where leftovers of earlier transactions stand.)
        """
        items = list(items)
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    for key, value in items:
                        txn.put(key.encode("ascii"), value, overwrite=False)
                return
            except lmdb.MapFullError:
                self.map_size *= 2
                self._env.set_mapsize(self.map_size)

    def close(self) -> None:
        """Closes the LMDB."""
        self._env.close()


def read_items(path: str | os.PathLike) -> Iterator[tuple[str, bytes]]:
    """Keys and values of an LMDB in the order of keys; none where there is no LMDB. Nothing may write it meanwhile."""
    if not Path(path, "data.mdb").exists():
        return
    with open_whole(path) as env, env.begin() as txn:
        for key, value in txn.cursor():
            yield key.decode(), value


def write_meta_info(path: str | os.PathLike, keys: Iterable[str], height: int, width: int, channels: int) -> None:
    """Writes BasicSR's ``meta_info.txt`` for images, or landmarks, that all have one shape."""
    is_points = Path(path).stem == LANDMARKS
    suffix, level = ("f32", 0) if is_points else ("png", PNG_LEVEL)
    with open(Path(path, "meta_info.txt"), "w", encoding="ascii") as meta:
        meta.writelines(f"{key}.{suffix} ({height},{width},{channels}) {level}\n" for key in keys)
