"""A pattern that repeats every few pixels, which adversarial training likes to draw and no photo has."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from wnet_arch.errors import DataError
from wnet_arch.losses.checks import total

#: Pixels after which the pattern repeats: two or three pixel shuffles give every pixel one of 4x4 or 8x8 places.
PERIODS = 4, 8
#: Cells along the side of the squares in which it is looked for.
CELLS = 4
#: Side of the mean that is taken off first.
_WINDOW = 5


def lattice(image: torch.Tensor, period: int) -> torch.Tensor:
    """The part of each square of an image that repeats every few pixels.

    What lies above the local mean is averaged over all pixels at the same place of their cell, in squares of 4x4 cells. Of
    details, which do not know the cells, a quarter is left, and one of sixteen degrees of freedom. A network that enlarges by
    pixel shuffle does know them: under a discriminator it finds one texture for all hair before it finds a fitting one.

    Args:
        image: (B, C, H, W), H and W multiples of four periods.

    Returns:
        (B, C, rows of squares, columns of squares, period, period), in units of the image.

    Raises:
        DataError: a side is another.
    """
    margin, side = _WINDOW // 2, CELLS * period
    detail = image - F.avg_pool2d(F.pad(image, (margin,) * 4, mode="reflect"), _WINDOW, stride=1)
    batch, channels, height, width = detail.shape
    if height % side or width % side:
        raise DataError(f"grid_artifact_weight: faces of {width}x{height}; sides that are multiples of {side} are wanted")
    squares = detail.view(batch, channels, height // side, CELLS, period, width // side, CELLS, period)
    return squares.mean(dim=(3, 6)).transpose(3, 4)


def grid_artifact_loss(sr: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference between the lattices of two batches, scalar, the sum of those of both periods."""
    return total((lattice(sr, period) - lattice(gt, period)).abs().mean() for period in PERIODS)
