"""Images processed in bands of rows, so that what lies between two layers stays in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F

#: Bytes of one feature map of a band. On processors several of them fit into the cache that the cores share; on GPUs this
#: limits memory.
BAND_BYTES = {"cpu": 8 << 20, "cuda": 128 << 20}


class Rows(NamedTuple):
    """Rows ``first``, ``first + 1``, ... of an image of ``height`` rows: ``data`` is (B, C, rows, W)."""

    data: torch.Tensor
    first: int
    height: int

    @property
    def end(self) -> int:
        """The image's row after the last of these."""
        return self.first + self.data.shape[2]

    def crop(self, start: int, end: int) -> Rows:
        """Those of the rows ``start`` to ``end`` that the image has."""
        start, end = max(start, 0), min(end, self.height)
        return Rows(self.data[:, :, start - self.first : end - self.first], start, self.height)

    def replaced(self, data: torch.Tensor) -> Rows:
        """Other values at the same place."""
        return Rows(data, self.first, self.height)

    def convolved(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Rows:
        """A convolution padded with zeros around the image; rows that need others than these are left out."""
        margin = weight.shape[-1] // 2
        result = self.replaced(F.conv2d(self.data, weight, bias, padding=margin))
        return result.crop(
            0 if self.first == 0 else self.first + margin, self.height if self.end == self.height else self.end - margin
        )


def bands(height: int, row_bytes: int, device: torch.device, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Cuts ``height`` rows into bands of about :data:`BAND_BYTES`: first and last row (exclusive), multiples of ``multiple``."""
    count = max(1, round(height * row_bytes / BAND_BYTES[device.type]))
    size = -(-height // count)
    size = -(-size // multiple) * multiple
    return ((start, min(start + size, height)) for start in range(0, height, size))


def window_sums(image: torch.Tensor) -> torch.Tensor:
    """Sums over the corners, edges and inside of (B, C, H, W), one pixel wide: (B, C, 3, 3), float32 at least.

    All that :func:`mean_of_convolution` needs to know of an image. H and W are at least 2.
    """
    wide = torch.promote_types(image.dtype, torch.float32)
    pixels = image.permute(0, 2, 3, 1)
    width = image.shape[3]
    # Means of rows by a matrix product, which half precision can do; their rounding errors cancel out in the sum over rows.
    means = torch.matmul(pixels.new_full((1, width), 1 / width), pixels)[:, :, 0].to(wide)
    left, right = pixels[:, :, 0].to(wide), pixels[:, :, -1].to(wide)
    columns = torch.stack([left, means * width - left - right, right], dim=-1)
    return torch.stack([columns[:, 0], columns[:, 1:-1].sum(1), columns[:, -1]], dim=2)


def mean_of_convolution(sums: torch.Tensor, size: tuple[int, int], weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The global mean of a padded 3x3 convolution, (B, O), without computing it: the mean is linear, too.

    Args:
        sums: :func:`window_sums` of its input.
        size: H and W.
    """
    seen = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]]).to(sums)  # parts of the image that each row of the kernel meets
    windows = seen @ sums @ seen.T
    return torch.einsum("bcuv,ocuv->bo", windows, weight.to(sums)) / (size[0] * size[1]) + bias.to(sums)


def window_sums_of_enlarged(sums: torch.Tensor, size: tuple[int, int], kernel: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """:func:`window_sums` of what a transposed convolution with stride 2 makes of an image, from those of that image.

    Args:
        sums: (B, I, 3, 3) of the image of ``size`` (H, W).
        kernel: (I, O, 2, 2). bias: (O, 2, 2).
    """
    # belongs[part, old part, pixel]: the two pixels made from the first row are the new first row and one of the inside.
    belongs = torch.tensor([[[1, 0], [0, 0], [0, 0]], [[0, 1], [1, 1], [1, 0]], [[0, 0], [0, 0], [0, 1]]]).to(sums)
    counts = torch.outer(*(torch.tensor([1, side - 2, 1]) for side in size)).to(sums)
    pixels = torch.einsum("bcAB,coij->boABij", sums, kernel.to(sums))
    pixels = pixels + counts[None, None, :, :, None, None] * bias.to(sums)[None, :, None, None]
    return torch.einsum("boABij,aAi,cBj->boac", pixels, belongs, belongs)
