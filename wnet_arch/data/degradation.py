"""LR faces as photos from life have them: blurred, reduced by any program, noisy, and compressed with the photo around them.

Every number comes from NumPy's global generator, which :class:`~wnet_arch.data.sampler.SeededDataset` sets for each draw from the
seed and the place in the run. So a run that is continued sees what it would have seen.

The face is reduced to the pixels of the photo first: noise and JPEG belong to those, blur to the lens in front of them. Where the
face has another size there than the LR image, that is resampled from it, as `wnet restore` does.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from PIL import Image

from wnet_arch.faces.align import Tilted

#: Filters by which a face is reduced; each program that makes photos smaller has another one.
KERNELS = ("bicubic", "bilinear", "box", "hamming", "lanczos")
#: Pixels of a JPEG block with colours of half the resolution: where the photo's grid lies is not known.
_BLOCK = 16


@dataclass(frozen=True)
class Degradation:
    """Makes an LR face of an HR one, another one each time. The defaults are those of photos that people have.

    Lengths are in pixels of the photo, grey levels of 255; ``(low, high)`` is drawn from uniformly. What is not done to an image
    costs it nothing: a share of ``clean`` is what the protocols measure, Pillow's bicubic filter and nothing else.

    Attributes:
        clean: share of images that are only reduced, by the bicubic filter, and resampled as the others.
        same_size: share of faces that are as large in the photo as the LR image, which then is a part of the photo.
        photo_side: side of the other faces in the photo, by that of the LR image.
        kernels: filters of the reduction, of :data:`KERNELS`.
        blur: share that is blurred before; ``blur_sigma``: of the Gaussian, along each of its axes.
        blur_motion, blur_isotropic: the share of the blurs that are a line of ``motion_length``, and the share of the others
            that are round; the rest are ellipses.
        noise: share with noise; ``noise_sigma``: of Gaussian noise; ``noise_poisson``: share of the noises that grow with light,
            ``poisson_scale`` times that of a sensor that counts 255 photons; ``noise_grey``: share of the noises that are equal in
            all channels.
        jpeg: share that is compressed; ``jpeg_quality``: of Pillow's encoder; ``jpeg_twice``: share of those that are compressed a
            second time; ``jpeg_half_colour``: share with colours of half the resolution (4:2:0, else 4:4:4).
        grey: share of photos in black and white, HR face and LR face alike: a network must not colour them.
        tint: share of photos of another look, HR and LR alike: ``gamma``, and channels stronger or weaker by up to ``cast``.
    """

    clean: float = 0.15
    same_size: float = 0.3
    photo_side: tuple[float, float] = (0.62, 1.25)
    kernels: tuple[str, ...] = KERNELS
    blur: float = 0.6
    blur_sigma: tuple[float, float] = (0.1, 1.1)
    blur_isotropic: float = 0.5
    blur_motion: float = 0.15
    motion_length: tuple[float, float] = (1.0, 3.5)
    noise: float = 0.6
    noise_sigma: tuple[float, float] = (0.5, 12.0)
    noise_poisson: float = 0.4
    poisson_scale: tuple[float, float] = (0.05, 1.5)
    noise_grey: float = 0.4
    jpeg: float = 0.85
    jpeg_quality: tuple[int, int] = (30, 98)
    jpeg_twice: float = 0.3
    jpeg_half_colour: float = 0.75
    grey: float = 0.1
    tint: float = 0.2
    gamma: tuple[float, float] = (0.75, 1.35)
    cast: float = 0.15

    @classmethod
    def from_options(cls, block: Mapping) -> Degradation:
        """From a block of an option file; what is not given has its default."""
        known = {field.name for field in fields(cls)}
        given = {key: value for key, value in block.items() if key in known and value is not None}
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        return cls(**values)

    def __call__(self, gt: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws once.

        Args:
            gt: RGB uint8 (N, N, 3), N a multiple of ``scale``.
            scale: how many times smaller the LR face is.

        Returns:
            The HR face, of another look for some, and its LR face (N / scale, N / scale, 3), both uint8.
        """
        gt = self._look(gt)
        lq_side = gt.shape[0] // scale
        side = lq_side if _happens(self.same_size) else max(4, round(lq_side * _between(self.photo_side)))
        return gt, _resample(self._photographed(gt, side), lq_side)

    def _photographed(self, gt: np.ndarray, side: int) -> np.ndarray:
        """The face in the pixels of a photo, (side, side, 3)."""
        if _happens(self.clean):
            return _reduce(gt, side, "bicubic")
        soft = self._blur(gt, gt.shape[0] / side) if _happens(self.blur) else gt
        face = _reduce(soft, side, str(np.random.choice(self.kernels)))  # noqa: NPY002
        steps: list[Callable[[np.ndarray], np.ndarray]] = [self._add_noise] * _happens(self.noise)
        steps += [self._compress] * (1 + _happens(self.jpeg_twice)) * _happens(self.jpeg)
        for index in np.random.permutation(len(steps)):  # noqa: NPY002
            face = steps[index](face)
        return face

    def _look(self, gt: np.ndarray) -> np.ndarray:
        if _happens(self.tint):
            gamma, gains = _between(self.gamma), 1 + np.random.uniform(-self.cast, self.cast, 3)  # noqa: NPY002
            gt = _to_bytes(255 * (gt / 255) ** gamma * gains)
        if _happens(self.grey):
            gt = np.repeat(np.asarray(Image.fromarray(gt).convert("L"))[..., None], 3, axis=2)
        return gt

    def _blur(self, gt: np.ndarray, scale: float) -> np.ndarray:
        kind = np.random.uniform()  # noqa: NPY002
        if kind < self.blur_motion:
            kernel = line_kernel(scale * _between(self.motion_length), np.random.uniform(0, np.pi))  # noqa: NPY002
        else:
            across, down = (scale * _between(self.blur_sigma) for _ in range(2))
            size = 2 * int(np.ceil(3 * scale * self.blur_sigma[1])) + 1
            isotropic = kind < self.blur_motion + (1 - self.blur_motion) * self.blur_isotropic
            from basicsr.data import degradations as framework  # brings all of BasicSR, which this package imports where it is used

            angle = np.random.uniform(0, np.pi)  # noqa: NPY002
            kernel = framework.bivariate_Gaussian(size, across, down, angle, isotropic=isotropic)
        return cv2.filter2D(gt, -1, kernel, borderType=cv2.BORDER_REFLECT)

    def _add_noise(self, lq: np.ndarray) -> np.ndarray:
        from basicsr.data import degradations as framework

        image = lq.astype(np.float32) / 255
        if _happens(self.noise_poisson):
            noisy = framework.random_add_poisson_noise(image, self.poisson_scale, self.noise_grey, clip=True)
        else:
            noisy = framework.random_add_gaussian_noise(image, self.noise_sigma, self.noise_grey, clip=True)
        return _to_bytes(noisy * 255)

    def _compress(self, lq: np.ndarray) -> np.ndarray:
        low, high = self.jpeg_quality
        place = np.random.randint(0, _BLOCK, 2)  # noqa: NPY002
        quality = int(np.random.randint(low, high + 1))  # noqa: NPY002
        return compress(lq, quality, _happens(self.jpeg_half_colour), (int(place[0]), int(place[1])))


def compress(image: np.ndarray, quality: int, half_colour: bool, place: tuple[int, int]) -> np.ndarray:
    """The image after a JPEG of the photo around it.

    Args:
        image: RGB uint8 (H, W, 3).
        quality: 1 to 95 or more, of Pillow's encoder.
        half_colour: colours of half the resolution each way (4:2:0), else all (4:4:4).
        place: row and column of the image in the photo; what lies around it is its own mirror image.
    """
    height, width = image.shape[:2]
    around = [(before, -(before + side) % _BLOCK + _BLOCK) for before, side in zip(place, (height, width))]
    photo = Image.fromarray(np.pad(image, (*around, (0, 0)), mode="symmetric"))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality, subsampling=2 if half_colour else 0)
    return np.asarray(Image.open(file))[place[0] : place[0] + height, place[1] : place[1] + width].copy()


def line_kernel(length: float, angle: float) -> np.ndarray:
    """Kernel of a camera that moved evenly: float32, a line of ``length`` pixels under ``angle`` (radians), its sum 1."""
    size = 2 * int(np.ceil(length / 2)) + 3
    centre, fine = size // 2, 17  # drawn larger by this factor, then reduced: any length and angle is met
    large = np.zeros((size * fine, size * fine), np.uint8)
    reach = length / 2 * np.array((np.cos(angle), np.sin(angle)))
    ends = [tuple(int(v) for v in np.round((centre + 0.5 + sign * reach) * fine - 0.5)) for sign in (-1, 1)]
    cv2.line(large, ends[0], ends[1], 255, fine)
    kernel = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    return kernel / kernel.sum()


def _reduce(image: np.ndarray, side: int, kernel: str) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling[kernel.upper()]))


def _resample(face: np.ndarray, side: int) -> np.ndarray:
    """A face of a photo as the network's input: by the filters that `wnet restore` uses."""
    if face.shape[0] == side:
        return face
    return Tilted(np.array(((1, 0, 0), (0, 1, 0))) / face.shape[0]).image(face, side)


def _happens(share: float) -> bool:
    return bool(np.random.uniform() < share)  # noqa: NPY002


def _between(limits: tuple[float, float]) -> float:
    return float(np.random.uniform(*limits))  # noqa: NPY002


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return image.clip(0, 255).round().astype(np.uint8)
