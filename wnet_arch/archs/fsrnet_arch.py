"""FSRNet: Chen, Tai, Liu, Shen, Yang, "FSRNet: End-to-End Learning Face Super-Resolution with Facial Priors",
CVPR 2018."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import ResidualHourglass, conv, reflect_conv, to_signed, to_unit
from wnet_arch.archs.checks import check_counts, check_multiple
from wnet_arch.archs.ops.folding import bias_of


class FSRNetOutput(NamedTuple):
    """What ``FSRNet(lq, return_aux=True)`` gives.

    ``sr``: (B, 3, H, W) in [0, 1]. ``coarse``: the image of the coarse network, likewise. ``maps``: prior maps (B,
    num_maps, H / 2, W / 2), straight from a convolution, without activation.
    """

    sr: torch.Tensor
    coarse: torch.Tensor
    maps: torch.Tensor


def activated(layer: nn.Module, num_feat: int) -> nn.Sequential:
    """The layer, batch norm and ReLU."""
    return nn.Sequential(layer, nn.BatchNorm2d(num_feat), nn.ReLU())


class FSRBlock(nn.Module):
    """``x + bn(conv(relu(bn(conv(x)))))`` with reflection padding and without biases, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(
            activated(reflect_conv(num_feat, num_feat, bias=False), num_feat),
            reflect_conv(num_feat, num_feat, bias=False),
            nn.BatchNorm2d(num_feat),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def blocks(num_feat: int, count: int) -> nn.Sequential:
    """Residual blocks one after another, each with weights of its own (one port shares them by accident)."""
    return nn.Sequential(*(FSRBlock(num_feat) for _ in range(count)))


class PreActivationBottleneck(nn.Module):
    """Bottleneck residual of the hourglass: three times batch norm, ReLU, convolution (1x1, 3x3, 1x1);
    (B, C, H, W) to (B, C', H, W).
    """

    def __init__(self, num_in_ch: int, num_out_ch: int):
        super().__init__()
        half = num_out_ch // 2

        def layer(channels: int, outputs: int, kernel: int) -> nn.Sequential:
            return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), conv(channels, outputs, kernel))

        self.body = nn.Sequential(layer(num_in_ch, half, 1), layer(half, half, 3), layer(half, num_out_ch, 1))
        self.shortcut = nn.Identity() if num_in_ch == num_out_ch else conv(num_in_ch, num_out_ch, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.body(x)


class PriorNet(nn.Sequential):
    """Prior estimation network: coarse image (B, 3, H, W) to the features (B, 2 * num_feat, H / 2, W / 2)."""

    def __init__(self, num_feat: int, num_blocks: int = 2, num_hourglasses: int = 2):
        wide = 2 * num_feat
        up = nn.Upsample(scale_factor=2, mode="nearest")
        super().__init__(
            activated(conv(3, num_feat, 7, stride=2, bias=False), num_feat),
            PreActivationBottleneck(num_feat, wide),
            blocks(wide, num_blocks),
            *(ResidualHourglass(3, lambda: PreActivationBottleneck(wide, wide), up) for _ in range(num_hourglasses)),
        )


class FSRNetTrunk(nn.Module):
    """The four networks of the paper: enlarged image (B, 3, H, W) in [-1, 1] to ``(coarse, maps, fine)``.

    Both images are (B, 3, H, W) in [-1, 1], the maps (B, num_maps, H / 2, W / 2). As in the ports, convolutions pad by
    reflection, but with zeros where the size changes: the two of stride 2, and the one before the transposed
    convolution.
    """

    def __init__(self, num_maps: int = 11, num_feat: int = 64, num_blocks: int = 3, num_encoder_blocks: int = 12):
        super().__init__()
        n = num_feat
        self.coarse = nn.Sequential(
            activated(reflect_conv(3, n, bias=False), n),
            blocks(n, num_blocks),
            reflect_conv(n, 3, bias=False),
            nn.Tanh(),
        )
        self.encoder = nn.Sequential(
            activated(conv(3, n, stride=2, bias=False), n),
            blocks(n, num_encoder_blocks),
            reflect_conv(n, n, bias=False),
            nn.Tanh(),
        )
        self.prior = PriorNet(n)
        self.to_maps = conv(2 * n, num_maps, 1)
        # The hourglasses' features are large (20 and more): from the usual start, the maps' loss would be about 200, with
        # gradients a hundred times those of the images, and the coarse network would not learn. Maps start near zero.
        nn.init.normal_(self.to_maps.weight, std=1e-3)
        nn.init.zeros_(bias_of(self.to_maps))
        self.decoder = nn.Sequential(
            activated(conv(3 * n, n, bias=False), n),
            activated(nn.ConvTranspose2d(n, n, 3, 2, 1, output_padding=1, bias=False), n),
            blocks(n, num_blocks),
            reflect_conv(n, 3, bias=False),
            nn.Tanh(),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        coarse = self.coarse(x)
        prior = self.prior(coarse)
        fine = self.decoder(torch.cat([self.encoder(coarse), prior], dim=1))
        return coarse, self.to_maps(prior), fine


@register_network
class FSRNet(FaceSRNetwork):
    """Face super-resolution with landmark and parsing priors (Chen et al., CVPR 2018).

    Published: the bicubically enlarged face; the authors released a Torch7 inference script and no network. What the
    paper leaves open (tanh after coarse image, encoder and output, transposed 3x3 convolution, depth of the
    hourglasses) is as in the known ports, but every residual block has weights of its own. The heads for landmark
    heatmaps and for parsing maps are both 1x1 convolutions of the same features, so one convolution with ``num_maps``
    outputs is both. The maps are supervised only; the decoder uses the features before them, so with a loss on ``sr``
    alone their convolution receives no gradient.

    Args:
        scale: 4 or 8.
        num_maps: prior maps in all, 11 as in Helen's parsing.
        num_feat: channels, even.
        num_blocks: residual blocks of the coarse network and of the decoder.
        num_encoder_blocks: residual blocks of the encoder.
    """

    size_multiple = 16  # the hourglass halves half of the size three times

    def __init__(
        self,
        scale: int = 8,
        num_maps: int = 11,
        num_feat: int = 64,
        num_blocks: int = 3,
        num_encoder_blocks: int = 12,
    ):
        super().__init__(scale)
        check_counts("FSRNet", num_maps=num_maps, num_blocks=num_blocks, num_encoder_blocks=num_encoder_blocks)
        check_multiple("FSRNet", "num_feat", num_feat, 2)
        self.trunk = FSRNetTrunk(num_maps, num_feat, num_blocks, num_encoder_blocks)

    def super_resolve(self, lq: torch.Tensor) -> FSRNetOutput:
        coarse, maps, fine = self.trunk(to_signed(enlarge(lq, self.scale)))
        return FSRNetOutput(to_unit(fine), to_unit(coarse), maps)
