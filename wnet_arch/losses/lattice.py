"""A pattern that repeats every few pixels, which adversarial training likes to draw and no photo has."""

from __future__ import annotations

import torch
import torch.nn.functional as F

#: Pixels after which the pattern repeats: two pixel shuffles give every pixel one of 4x4 places.
PERIOD = 4
#: Side of the squares in which it is looked for.
SQUARE = 16
#: Side of the mean that is taken off first.
_WINDOW = 5


def lattice(image: torch.Tensor) -> torch.Tensor:
    """The part of each square of an image that repeats every four pixels.

    What lies above the local mean is averaged over all pixels at the same place of their 4x4 cell. Of details, which do not know
    the cells, a quarter is left, and one of sixteen degrees of freedom. A network that enlarges by pixel shuffle does know them:
    under a discriminator it finds one texture for all hair before it finds a fitting one.

    Args:
        image: (B, C, H, W), H and W multiples of 16.

    Returns:
        (B, C, H / 16, W / 16, 4, 4), in units of the image.
    """
    margin, cells = _WINDOW // 2, SQUARE // PERIOD
    detail = image - F.avg_pool2d(F.pad(image, (margin,) * 4, mode="reflect"), _WINDOW, stride=1)
    batch, channels, height, width = detail.shape
    squares = detail.view(batch, channels, height // SQUARE, cells, PERIOD, width // SQUARE, cells, PERIOD)
    return squares.mean(dim=(3, 6)).transpose(3, 4)


def lattice_loss(sr: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference between the lattices of two batches, scalar."""
    return (lattice(sr) - lattice(gt)).abs().mean()
