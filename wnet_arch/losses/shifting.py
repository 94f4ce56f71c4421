"""Random crops before a network that judges images."""

from __future__ import annotations

import torch

from wnet_arch.errors import UsageError


def random_crop(shift: int, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cuts ``shift`` rows and columns off images, at random places, the same of all.

    A network with strides or pooling lays a grid over the image, and its gradients follow that grid. If it lay alike in every
    step, a super-resolution network, which has a grid of its own, would learn to draw it.

    Args:
        shift: 0 cuts nothing.
        images: (..., H, W).

    Returns:
        (..., H - shift, W - shift) each.

    Raises:
        UsageError: nothing would be left of the images.
    """
    if not shift:
        return images
    if shift >= min(images[0].shape[-2:]):
        height, width = images[0].shape[-2:]
        raise UsageError(f"shift: {shift} rows and columns cut off {width}x{height} pixels leave nothing")
    top, left = torch.randint(shift + 1, (2,)).tolist()
    height, width = (side - shift for side in images[0].shape[-2:])
    return tuple(image[..., top : top + height, left : left + width] for image in images)
