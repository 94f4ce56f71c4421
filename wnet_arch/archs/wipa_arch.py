"""WIPA: Dastmalchi, Aghaeinia, "Super-Resolution of Very Low-Resolution Face Images with a Wavelet Integrated, Identity
Preserving, Adversarial Network", Signal Processing: Image Communication 2022."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, register_network
from wnet_arch.archs.baseline_layers import conv, normal_init, to_signed, to_unit
from wnet_arch.archs.checks import check_choice, check_counts


class WIPAOutput(NamedTuple):
    """What ``WIPA(lq, return_aux=True)`` gives.

    ``sr``: (B, 3, H, W) in [0, 1]. ``wavelets``: one prediction a stage, finest first, (B, 9, H/2, W/2), (B, 9, H/4,
    W/4)..., each h, v, d of R, then of G, then of B. The target of level l (0 the finest) is the Haar packet of the HR
    image in [0, 1], divided by 2 ** l; differences, so either sign.
    """

    sr: torch.Tensor
    wavelets: tuple[torch.Tensor, ...]


class WIPABlock(nn.Module):
    """``act(x + bn(conv(act(bn(conv(x))))))``, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(
            conv(num_feat, num_feat, bias=False),
            nn.BatchNorm2d(num_feat),
            nn.LeakyReLU(0.1),
            conv(num_feat, num_feat, bias=False),
            nn.BatchNorm2d(num_feat),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x + self.body(x), 0.1)


class WIPAStage(nn.Module):
    """Residual blocks, optionally a prediction of wavelet coefficients, and a doubling.

    Returns ``(features, prediction)``: (B, C, 2h, 2w) and (B, 9, h, w) or None.
    """

    def __init__(self, num_feat: int, num_blocks: int, wavelet: bool):
        super().__init__()
        self.blocks = nn.Sequential(*(WIPABlock(num_feat) for _ in range(num_blocks)))
        self.wavelet = wavelet
        if wavelet:
            self.extract = conv(num_feat, num_feat, bias=False)
            self.predict = conv(num_feat, 9, bias=False)
            self.merge = conv(2 * num_feat, num_feat, 1, bias=False)
        self.up = nn.Sequential(nn.ConvTranspose2d(num_feat, num_feat, 4, 2, 1, bias=False), nn.LeakyReLU(0.1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        x = self.blocks(x)
        if not self.wavelet:
            return self.up(x), None
        bands = self.extract(x)
        return self.up(self.merge(torch.cat([x, bands], dim=1))), self.predict(bands)


class WIPATrunk(nn.Module):
    """The published generator: LR image (B, 3, h, w) in [-1, 1] to the image enlarged, tanh, in the same range.

    Returns ``(image, [predictions, finest first])``, or the image alone without ``wavelet``.
    """

    def __init__(self, scale: int = 8, wavelet: bool = True, num_feat: int = 64):
        super().__init__()
        self.head = nn.Sequential(conv(3, num_feat, bias=False), nn.BatchNorm2d(num_feat), nn.LeakyReLU(0.1))
        blocks = [scale >> i for i in range(scale.bit_length() - 1)]  # 8, 4, 2 for x8
        self.stages = nn.ModuleList(WIPAStage(num_feat, n, wavelet) for n in blocks)
        self.tail = nn.Sequential(conv(num_feat, 3, bias=False), nn.Tanh())
        self.scale, self.wavelet = scale, wavelet
        normal_init(self)

    def forward(self, x: torch.Tensor):
        size = [side * self.scale for side in x.shape[-2:]]
        x = self.head(x)
        total: torch.Tensor | int = 0
        predictions: list[torch.Tensor] = []
        for stage in self.stages:
            x, prediction = stage(x)
            last = stage is self.stages[-1]
            total = total + (x if last else F.interpolate(x, size, mode="bicubic", align_corners=True))
            predictions.insert(0, prediction)
        image = self.tail(total)
        return (image, predictions) if self.wavelet else image


@register_network
class WIPA(FaceSRNetwork):
    """Wavelet-integrated generator (Dastmalchi and Aghaeinia, SPIC 2022).

    Published: the LR face in [-1, 1], x8 and x16; x4 is what the same class gives. Nothing differs in the layers. With
    ``wavelet=False`` it is the paper's baseline generator, and there are no priors. The discriminator is
    ``WIPADiscriminator``; the losses are in ``losses/wipa_loss.py``. Weights start from N(0, 0.02), as the released script
    means them to; it calls its function in a way that changes nothing, and torch's own spread, 0.018 to 0.024 in most
    layers, is nearly the same. The predictions are supervised only: with a loss on ``sr`` alone their convolutions receive
    no gradient.

    Args:
        scale: 4 or 8.
        wavelet: predict and use wavelet coefficients.
        num_feat: channels.
    """

    def __init__(self, scale: int = 8, wavelet: bool = True, num_feat: int = 64):
        super().__init__(scale)
        check_choice("WIPA", "wavelet", wavelet, (True, False))
        check_counts("WIPA", num_feat=num_feat)
        self.trunk = WIPATrunk(scale, wavelet, num_feat)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor | WIPAOutput:
        out = self.trunk(to_signed(lq))
        if not self.trunk.wavelet:
            return to_unit(out)
        image, predictions = out
        return WIPAOutput(to_unit(image), tuple(predictions))
