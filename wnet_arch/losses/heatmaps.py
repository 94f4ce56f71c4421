"""What networks with facial priors are trained to estimate, and where it is known: landmark heatmaps and parsing maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from wnet_arch.faces import labels

#: The 11 classes of Helen's parsing maps (Smith et al., CVPR 2013), which FSRNet estimates, each with those of
#: CelebAMask-HQ it is made of. Helen has no class for glasses: the face under them counts as skin. Background is what
#: remains: ears with rings, neck with necklace, clothes and hat. Left and right are the person's.
HELEN = (
    (labels.BACKGROUND, labels.HAT, labels.L_EAR, labels.R_EAR, labels.EAR_RING, labels.NECK, labels.NECKLACE, labels.CLOTH),
    (labels.SKIN, labels.EYE_GLASSES),
    (labels.L_BROW,), (labels.R_BROW,), (labels.L_EYE,), (labels.R_EYE,), (labels.NOSE,),
    (labels.U_LIP,), (labels.MOUTH,), (labels.L_LIP,), (labels.HAIR,),
)  # fmt: skip


def landmark_heatmaps(
    points: torch.Tensor, height: int, width: int, stride: float = 4, sigma: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """One Gaussian of peak 1 a landmark, as DIC draws them (Ma et al., CVPR 2020).

    A centre is the landmark divided by ``stride``, not rounded. As published this ignores that the middle of a pixel of
    the map lies at (stride - 1) / 2 pixels of the image; the maps are shifted by less than half of their pixels.

    Args:
        points: (B, N, 2), x and y in pixels of the image; NaN where unknown.
        height, width: of the maps.
        stride: pixels of the image for each of the maps.
        sigma: of the Gaussians, in pixels of the maps.

    Returns:
        Maps (B, N, height, width) float32 in [0, 1], and whether they are known, (B, 1, 1, 1) float32 of 0 and 1: an image
        that lacks a point is unknown as a whole, and its maps are 0.
    """
    centres = points.float() / stride
    known = centres.isfinite().all(-1).all(-1)
    x, y = torch.where(known[:, None, None], centres, torch.zeros_like(centres)).unbind(-1)
    columns, rows = (torch.arange(side, device=points.device, dtype=torch.float32) for side in (width, height))
    # A Gaussian is a product of its profiles along x and y.
    across, down = (torch.exp(-(grid - centre[..., None]).square() / (2 * sigma**2)) for grid, centre in ((columns, x), (rows, y)))
    known = known.float()[:, None, None, None]
    return down[..., :, None] * across[..., None, :] * known, known


def helen_maps(label: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Parsing maps of the 11 classes of :data:`HELEN`: the share of each class in a cell of the grid.

    Args:
        label: (B, H, W) uint8 of CelebAMask-HQ classes, 255 = unknown.
        height, width: of the maps; H and W are multiples of them.

    Returns:
        Maps (B, 11, height, width) and known (B, 1, height, width), see :func:`reduced`.
    """
    table = torch.full((256,), len(HELEN), device=label.device)
    for value, classes in enumerate(HELEN):
        table[list(classes)] = value
    maps = F.one_hot(table[label.long()], len(HELEN) + 1)[..., :-1].permute(0, 3, 1, 2).float()
    return reduced(maps, label, height, width)


def coloured_map(label: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The parsing map as a picture in the colours of :data:`wnet_arch.faces.labels.PALETTE`, reduced by averaging.

    Args:
        label: (B, H, W) uint8 of CelebAMask-HQ classes, 255 = unknown.
        height, width: of the map; H and W are multiples of them.

    Returns:
        Map (B, 3, height, width) in [0, 1] and known (B, 1, height, width), see :func:`reduced`.
    """
    palette = torch.tensor(labels.PALETTE, device=label.device, dtype=torch.float32) / 255
    return reduced(palette[label.long()].permute(0, 3, 1, 2), label, height, width)


def reduced(maps: torch.Tensor, label: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Averages maps (B, C, H, W) over the cells of a coarser grid, and tells which of these are known.

    Returns:
        (B, C, height, width), and (B, 1, height, width) float32 of 0 and 1: a cell is known where all of its pixels are.
    """
    cell = (label.shape[-2] // height, label.shape[-1] // width)
    unknown = (label[:, None] == labels.UNKNOWN).float()
    return F.avg_pool2d(maps, cell), 1 - F.max_pool2d(unknown, cell)
