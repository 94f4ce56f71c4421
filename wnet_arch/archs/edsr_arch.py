"""EDSR: Lim, Son, Kim, Nah, Lee, "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017."""

from __future__ import annotations

import math

import torch

from wnet_arch.archs.base import FaceSRNetwork, register_network
from wnet_arch.archs.checks import check_counts
from wnet_arch.errors import NetworkError


@register_network
class EDSR(FaceSRNetwork):
    """BasicSR's EDSR, wrapped so that it checks its input and has the options of the other networks.

    Published: the LR image itself, [0, 255] minus the mean of DIV2K, both inside the trunk, which takes [0, 1]. The
    defaults are the paper's baseline model; its large one is ``num_feat=256, num_blocks=32, res_scale=0.1``. W-Net's
    Table 1 does not say which it means. In YAML it is ``EDSR_face``; plain ``EDSR`` is the framework's.

    Args:
        scale: 4 or 8.
        num_feat: channels.
        num_blocks: residual blocks.
        res_scale: factor of every residual.
    """

    def __init__(self, scale: int = 8, num_feat: int = 64, num_blocks: int = 16, res_scale: float = 1.0):
        super().__init__(scale)
        check_counts("EDSR", num_feat=num_feat, num_blocks=num_blocks)
        if isinstance(res_scale, bool) or not isinstance(res_scale, (int, float)) or not math.isfinite(res_scale):
            raise NetworkError(f"EDSR takes a number for res_scale, not {res_scale!r}")
        from basicsr.archs.edsr_arch import EDSR as FrameworkEDSR  # here: BasicSR takes seconds to import

        self.trunk = FrameworkEDSR(3, 3, num_feat=num_feat, num_block=num_blocks, upscale=scale, res_scale=res_scale)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return self.trunk(lq)
