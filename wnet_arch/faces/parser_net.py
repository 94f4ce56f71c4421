"""The project's own face parser: a compact U-shaped network for 128x128 faces, 19 classes of CelebAMask-HQ."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from wnet_arch.faces.labels import NAMES


class ParserNet(nn.Module):
    """Residual encoder and decoder over four grids, joined by sums (after Ronneberger et al., U-Net, 2015).

    Two pixels by two become one of twelve channels on the way in and are taken apart again on the way out, so that no
    convolution runs at full resolution and yet no detail is thrown away: eyes and lips are a few pixels high.

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the input's side.
        depths: residual blocks of the encoder on each grid.
        num_classes: of the output.
    """

    def __init__(self, widths=(40, 64, 96, 128), depths=(1, 2, 2, 2), num_classes: int = len(NAMES)):
        super().__init__()
        self.stem = _conv_bn_relu(12, widths[0], 3)
        self.encoder = nn.ModuleList(nn.Sequential(*(_Residual(w) for _ in range(d))) for w, d in zip(widths, depths))
        steps = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(_conv_bn_relu(fine, coarse, 3, stride=2) for fine, coarse in steps)
        self.up = nn.ModuleList(_conv_bn_relu(coarse, fine, 1) for fine, coarse in steps)
        self.decoder = nn.ModuleList(_Residual(fine) for fine, _ in steps)
        self.head = nn.Conv2d(widths[0], num_classes * 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes, (B, num_classes, H, W), for RGB in [0, 1], (B, 3, H, W), sides divisible by 16."""
        x = self.encoder[0](self.stem(F.pixel_unshuffle(x - 0.5, 2)))
        skips = []
        for down, encoder in zip(self.down, self.encoder[1:]):
            skips.append(x)
            x = encoder(down(x))
        for up, decoder, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips)):
            x = decoder(F.interpolate(up(x), scale_factor=2, mode="nearest") + skip)
        return F.pixel_shuffle(self.head(x), 2)


class _Residual(nn.Module):
    """Two 3x3 convolutions around an identity (He et al., 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.first = _conv_bn_relu(width, width, 3)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.second(self.first(x)))


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
