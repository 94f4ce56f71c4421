"""What a photo's look says about its quality: JPEG by its quantisation tables, noise, and whether it is grey or toned.

Pure functions of pixels and tables; nothing here knows of networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from wnet_arch.errors import DataError

#: Quantisation tables of a JPEG file, 64 numbers each, luminance first, as a list or as Pillow's ``quantization``; of others none.
Tables = Sequence[Sequence[int]] | Mapping[int, Sequence[int]] | None
#: Luminance of R, G, B as JPEG has it.
LUMA = np.array((0.299, 0.587, 0.114))
#: JPEG's example table of luminance (ITU-T T.81, table K.1), from which nearly all encoders scale theirs.
_TABLE = np.array(
    [
        16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
        14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
    ]
)  # fmt: skip
#: Below this quality a face in the pixels of the photo has lost much: of one of 16 pixels, networks trained on clean faces gain
#: half at 90, and next to nothing at 60 (docs/results/groups.md).
HEAVY_JPEG = 75
#: Grey levels of noise from which it is worth a word.
NOISY = 6.0
#: JPEG below this quality, or noise from these grey levels on, and networks that were trained on degraded faces come nearer to the
#: true one. Of faces of 21 to 39 pixels in group photos they gained 0.1 dB more at 90, 1.0 dB at 75, and lost 1.0 dB on clean ones.
BETTER_REAL_JPEG, BETTER_REAL_NOISE = 90, 5.0
#: Side of the parts of a large photo that are looked at for noise.
_TILE = 160
#: Blocks whose means are compared, in pixels: chroma is stored at half the resolution, and noise averages out.
_BLOCK = 4
#: A photo is toned where its blocks' chroma lies so near a curve over luminance: root mean square, and 99 of 100 blocks. Of 544
#: photos of Helen and CelebA, 25 were found grey and 9 toned: by eye all are, but one that is dim, by lamplight. Of 281 others that
#: were made sepia, all were found, 270 after JPEG of quality 75, and 192 of quality 40.
_NEAR_CURVE, _NEARLY_ALL = 3.5, 9.0
#: Of a single face's blocks, likewise, so that a small face in colours is not overlooked in a grey photo.
_FACE_NEAR = 6.0
#: Chroma up to which a toned photo is called grey.
_GREY = 4.0


@dataclass(frozen=True)
class Tone:
    """The colours of a photo that has one for each luminance: black and white, sepia, any tint.

    ``curve``: float (2, 3), R and B less luminance, each as a polynomial of degree 2 in (luminance - 128) / 128.
    All 0: exactly grey.
    """

    curve: np.ndarray

    @property
    def name(self) -> str:
        """``grey`` or ``toned``."""
        chroma = self._chroma(np.arange(0, 256, 8.0))
        return "grey" if np.abs(chroma).max() <= _GREY else "toned"

    def colours(self, luminance: np.ndarray) -> np.ndarray:
        """RGB, float (..., 3), that has this luminance (...) and the photo's tint; R = G = B to the bit where it is grey."""
        if not self.curve.any():
            return np.repeat(luminance[..., None], 3, -1)
        red, blue = np.moveaxis(self._chroma(luminance), -1, 0)
        green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]  # what leaves the luminance as it is
        return luminance[..., None] + np.stack((red, green, blue), -1)

    def retouched(self, plain: np.ndarray, restored: np.ndarray) -> np.ndarray:
        """A restored face in the photo's tint: of ``restored`` the luminance alone, uint8 (H, W, 3) both; ``plain`` is the same
        face plainly enlarged, whose deviation from the tint stays.
        """
        before, after = (self.colours(luminance(one)) for one in (plain, restored))
        return np.rint(plain + (after - before)).clip(0, 255).astype(np.uint8)

    def holds(self, face: np.ndarray) -> bool:
        """Whether a face, uint8 (h, w, 3), has these colours."""
        if not self.curve.any():
            return not _coloured(face)
        return bool(_rms(self._deviation(face)) <= _FACE_NEAR)

    def _chroma(self, luminance: np.ndarray) -> np.ndarray:
        return _powers(luminance) @ self.curve.T

    def _deviation(self, rgb: np.ndarray) -> np.ndarray:
        blocks = _blocks(rgb)
        bright = blocks @ LUMA
        return np.abs(blocks[:, (0, 2)] - bright[:, None] - self._chroma(bright)).max(1)


@dataclass(frozen=True)
class PhotoHints:
    """``jpeg_quality``: about 1 to 100 as libjpeg counts, ``None`` where the file is no JPEG or nothing is known of it; ``noise``:
    its standard deviation in grey levels of 255, ``None`` where the photo has no smooth area; ``tone``: ``None`` of colour photos.
    """

    jpeg_quality: int | None = None
    noise: float | None = None
    tone: Tone | None = None

    @property
    def degraded(self) -> list[str]:
        """What makes faces of this photo doubtful, a few words each; empty for a good one."""
        return self._beyond(HEAVY_JPEG, NOISY)

    @property
    def better_real(self) -> list[str]:
        """Why networks for degraded faces suit this photo better, a few words each; empty where others do."""
        return self._beyond(BETTER_REAL_JPEG, BETTER_REAL_NOISE)

    def _beyond(self, jpeg: int, noise: float) -> list[str]:
        found = []
        if self.jpeg_quality is not None and self.jpeg_quality < jpeg:
            found.append(f"JPEG of quality {self.jpeg_quality}")
        if self.noise is not None and self.noise >= noise:
            found.append(f"noise of {self.noise:.0f} grey levels")
        return found


def read_hints(rgb: np.ndarray, tables: Tables = ()) -> PhotoHints:
    """All hints of a photo.

    Args:
        rgb: uint8 (H, W, 3).
        tables: quantisation tables of the JPEG file it comes from, 64 numbers each, luminance first; none for other files.

    Raises:
        DataError: the first table does not have 64 numbers.
    """
    table = tables[0] if tables is not None and len(tables) else None
    if table is not None and np.shape(table) not in ((64,), (8, 8)):
        raise DataError(f"tables: a quantisation table has 64 numbers, not {table!r}")
    return PhotoHints(None if table is None else jpeg_quality(table), noise_level(rgb), find_tone(rgb))


def luminance(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) to float (...). Of grey exactly its value."""
    return rgb[..., 1] + (LUMA[0] * (rgb[..., 0].astype(float) - rgb[..., 1]) + LUMA[2] * (rgb[..., 2].astype(float) - rgb[..., 1]))


def jpeg_quality(table: Sequence[int]) -> int:
    """The quality, 1 to 100, at which libjpeg's table of luminance is nearest to this one, in any order of its 64 numbers.

    Programs that count otherwise (Photoshop, cameras) get the quality that quantises as coarsely.
    """
    own = np.log(np.maximum(np.sort(np.asarray(table, float).ravel()), 1))
    return int(np.abs(_known_tables() - own).sum(1).argmin()) + 1


@lru_cache(maxsize=1)
def _known_tables() -> np.ndarray:
    """Logarithms of libjpeg's tables of luminance of the qualities 1 to 100, sorted: (100, 64)."""
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.log(np.sort(np.clip((np.outer(percent, _TABLE) + 50) // 100, 1, 255), axis=1))


def noise_level(rgb: np.ndarray) -> float | None:
    """Standard deviation of the noise of the luminance, grey levels; ``None`` where the photo has no smooth area.

    Immerkaer's mask ("Fast Noise Variance Estimation", CVIU 1996), blind to slopes, on the smoother half of the pixels that are not
    clipped; its median, which edges do not move. Noise that a program has smeared or compressed away is not there to be measured.
    """
    if min(rgb.shape[:2]) < 16:
        return None
    grey = np.concatenate([luminance(tile).astype(np.float32) for tile in _tiles(rgb)], 1)
    mask = np.array(((1, -2, 1), (-2, 4, -2), (1, -2, 1)), np.float32)
    response = np.abs(cv2.filter2D(grey, -1, mask))[1:-1, 1:-1]
    soft = cv2.GaussianBlur(grey, (0, 0), 2)
    slope = np.hypot(cv2.Sobel(soft, -1, 1, 0), cv2.Sobel(soft, -1, 0, 1))[1:-1, 1:-1]
    inside = ((soft > 16) & (soft < 239))[1:-1, 1:-1]
    if inside.sum() < 256:
        return None
    smooth = inside & (slope <= np.median(slope[inside]))
    return float(np.median(response[smooth]) / (6 * 0.6745))


def _tiles(rgb: np.ndarray) -> list[np.ndarray]:
    """The photo, or, of a large one, 16 parts of it, evenly spread: to measure noise that is enough."""
    height, width = rgb.shape[:2]
    if min(height, width) < 4 * _TILE:
        return [rgb[: 16 * _TILE, : 16 * _TILE]]
    corners = [np.linspace(0, length - _TILE, 4).astype(int) for length in (height, width)]
    return [rgb[y : y + _TILE, x : x + _TILE] for y in corners[0] for x in corners[1]]


def find_tone(rgb: np.ndarray) -> Tone | None:
    """The tone of a photo, uint8 (H, W, 3), all of whose colours depend on their luminance alone; ``None`` for a colour photo."""
    if not _coloured(rgb):
        return Tone(np.zeros((2, 3)))
    if min(rgb.shape[:2]) < _BLOCK * 4:
        return None
    blocks = _blocks(rgb)
    blocks = blocks[:: max(1, len(blocks) // 50_000)]
    bright = blocks @ LUMA
    curve = np.linalg.lstsq(_powers(bright), blocks[:, (0, 2)] - bright[:, None], rcond=None)[0].T
    tone = Tone(curve)
    deviation = tone._deviation(rgb)
    near = _rms(deviation) <= _NEAR_CURVE and np.quantile(deviation, 0.99) <= _NEARLY_ALL
    return tone if near else None


def _coloured(rgb: np.ndarray) -> bool:
    """Whether any pixel is not exactly grey."""
    return bool((rgb[..., 0] != rgb[..., 1]).any() or (rgb[..., 1] != rgb[..., 2]).any())


def _powers(bright: np.ndarray) -> np.ndarray:
    t = (np.asarray(bright, float) - 128) / 128
    return np.stack((np.ones_like(t), t, t * t), -1)


def _blocks(rgb: np.ndarray) -> np.ndarray:
    """Means of blocks, float (N, 3)."""
    height, width = (max(1, length // _BLOCK) for length in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(float)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))
