"""PSNR and SSIM under named protocols, because "PSNR" alone means nothing in this field.

On one set of images the choice of channel alone moves PSNR by 1.4 dB. A protocol fixes channel, rounding, border and the
SSIM's arithmetic:

==========  ===================================  ======  ==========================================================
name        channel                              border  SSIM
==========  ===================================  ======  ==========================================================
dic         Y of BT.601 (16..235), rounded       8       Gaussian, of the rounded Y
dic-wrap    the same                             8       of Y multiplied by 255 in 8 bits, which wraps to 256 - Y
sparnet     Y of BT.601 (16..235), rounded down  none    Gaussian, of the rounded Y
rgb         R, G, B                              none    Gaussian, mean over the channels
==========  ===================================  ======  ==========================================================

``dic`` follows the evaluation of Ma et al., Deep Face Super-Resolution with Iterative Collaboration (CVPR 2020), and of
those who took it over: the border is 8 pixels at every scale. ``dic-wrap`` adds the integer overflow of that evaluation's
SSIM, which published tables carry; PSNR is the same. ``sparnet`` follows Chen et al., SPARNet (TIP 2021) and its
descendants. That family also rounds the network's output down when it saves it; these functions are given 8-bit images,
so whoever saved them has decided.

SSIM (Wang et al., TIP 2004): 11x11 Gaussian window with sigma 1.5, K1 = 0.01, K2 = 0.03, range 255, biased covariances,
mean over all windows that lie inside the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from wnet_arch.errors import DataError, UsageError, did_you_mean
from wnet_arch.metrics.base import Metric, Pictures, check_pairs

_WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Protocol:
    """One way to compute PSNR and SSIM.

    Attributes:
        name: what :func:`get` takes.
        description: one line for tables.
        channels: uint8 (H, W, 3) RGB to the whole numbers (H, W, C) that are compared.
        border: pixels cut off on each side.
        wrap: whether SSIM is computed on values multiplied by 255 in 8 bits.
    """

    name: str
    description: str
    channels: Callable[[np.ndarray], np.ndarray]
    border: int
    wrap: bool = False

    def psnr(self, sr: np.ndarray, gt: np.ndarray, scale: int) -> float:
        """Peak signal-to-noise ratio in dB, of peak 255; infinite for equal images.

        Args:
            sr: uint8 RGB (H, W, 3).
            gt: the same shape.
            scale: magnification, a positive integer. Checked; no protocol's arithmetic depends on it so far.

        Raises:
            DataError: not such images, different sizes, or too small for the border.
            UsageError: not such a scale.
        """
        sr, gt = self._compared(sr, gt, scale, 1)
        error = np.mean(np.square(sr - gt))
        return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))

    def ssim(self, sr: np.ndarray, gt: np.ndarray, scale: int) -> float:
        """Structural similarity, at most 1. Arguments and errors as for :meth:`psnr`."""
        sr, gt = self._compared(sr, gt, scale, _WINDOW)
        if self.wrap:
            sr, gt = np.mod(sr * 255, 256), np.mod(gt * 255, 256)
        return float(np.mean([_ssim(sr[..., c], gt[..., c]) for c in range(sr.shape[2])]))

    def _compared(self, sr: np.ndarray, gt: np.ndarray, scale: int, smallest: int) -> tuple[np.ndarray, np.ndarray]:
        """Both images as float64 (H, W, C) of whole numbers, without the border."""
        _check(self.name, sr, gt, scale, smallest + 2 * self.border)
        inner = slice(self.border, -self.border or None)
        ours, true = (self.channels(image)[inner, inner].astype(np.float64) for image in (sr, gt))
        return ours, true


def _check(name: str, sr: np.ndarray, gt: np.ndarray, scale: int, smallest: int) -> None:
    for what, image in (("SR", sr), ("GT", gt)):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise DataError(f"protocol {name}: {what} must be uint8 RGB (H, W, 3), not {found}")
    if sr.shape != gt.shape:
        raise DataError(f"protocol {name}: SR is {_size(sr)}, GT is {_size(gt)} (width x height)")
    if min(sr.shape[:2]) < smallest:
        raise DataError(f"protocol {name}: images of {_size(sr)} are too small, it needs {smallest} pixels a side")
    if isinstance(scale, bool) or not isinstance(scale, (int, np.integer)) or scale < 1:
        raise UsageError(f"protocol {name}: scale must be a whole number such as 8, not {scale!r}")


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _luma(rgb: np.ndarray) -> np.ndarray:
    """Y of BT.601, studio range, float64 (H, W, 1); in the order of operations that these evaluations share."""
    return (np.dot(rgb.astype(np.float64), (65.481, 128.553, 24.966)) / 255 + 16)[..., None]


def _luma_rounded(rgb: np.ndarray) -> np.ndarray:
    return np.round(_luma(rgb))


def _luma_floored(rgb: np.ndarray) -> np.ndarray:
    return np.floor(_luma(rgb))


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Mean SSIM of two float64 (H, W) with range 255, over the windows inside."""
    kernel = cv2.getGaussianKernel(_WINDOW, _SIGMA)
    inside = slice(_WINDOW // 2, -(_WINDOW // 2))

    def blur(image: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel)[inside, inside]

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    contrast = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return float((luminance * contrast).mean())


_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("dic", "Y of BT.601 rounded, border 8, Gaussian SSIM", _luma_rounded, 8),
        Protocol("dic-wrap", "Y of BT.601 rounded, border 8, Gaussian SSIM of 256 - Y", _luma_rounded, 8, wrap=True),
        Protocol("sparnet", "Y of BT.601 rounded down, no border, Gaussian SSIM", _luma_floored, 0),
        Protocol("rgb", "RGB, no border, Gaussian SSIM", lambda rgb: rgb, 0),
    )
}
NAMES = tuple(_PROTOCOLS)


def get(name: str) -> Protocol:
    """The protocol called ``dic``, ``dic-wrap``, ``sparnet`` or ``rgb``.

    Raises:
        UsageError: there is none of that name; the message names the nearest.
    """
    if name not in _PROTOCOLS:
        raise UsageError(f"no protocol is called '{name}'{did_you_mean(str(name), NAMES)}")
    return _PROTOCOLS[name]


class ProtocolMetric(Metric[Pictures]):
    """PSNR and SSIM of one protocol.

    Args:
        protocol: one of :data:`NAMES`.
        scale: magnification of the images that will be measured.
    """

    better = "higher"
    units = {"psnr": "dB", "ssim": ""}

    def __init__(self, protocol: str = "dic", scale: int = 8):
        self.protocol = get(protocol)
        self.scale = scale
        self.name = f"psnr/ssim {protocol}"
        self.backbone = self.protocol.description

    def compare(self, sr: Pictures, gt: Pictures) -> dict[str, np.ndarray]:
        """``psnr`` in dB, infinite for equal images, and ``ssim``, at most 1."""
        check_pairs(sr.images, gt.images)
        pairs = list(zip(sr.images, gt.images))
        return {key: np.array([getattr(self.protocol, key)(one, other, self.scale) for one, other in pairs]) for key in self.units}
