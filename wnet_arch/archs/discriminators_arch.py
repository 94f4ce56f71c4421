"""Discriminators of the compared methods that train with an adversarial loss: SRGAN, WIPA, MRRNet.

They are no super-resolution networks: option files name them as ``network_d``, and ``list_networks()`` does not list them.
Each takes RGB in [0, 1], real or super-resolved, and gives numbers without a final sigmoid, which belongs to the loss.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from wnet_arch.archs.base import register_discriminator
from wnet_arch.archs.baseline_layers import conv, normal_init, reflect_conv, to_signed
from wnet_arch.archs.checks import check_counts, check_multiple
from wnet_arch.errors import NetworkError


def _check_images(net: nn.Module, x: torch.Tensor, size: int | None) -> None:
    """Raises :class:`NetworkError` unless ``x`` is (B, 3, size, size); any size of 32 or more without ``size``."""
    wanted = f"(B, 3, {size}, {size})" if size else "(B, 3, H, W), at least 32x32"
    right = x.shape[-2:] == (size, size) if size else min(x.shape[-2:]) >= 32
    if x.ndim != 4 or x.shape[1] != 3 or not right:
        raise NetworkError(f"{type(net).__name__} takes images of shape {wanted}, not {tuple(x.shape)}")


@register_discriminator
class SRGANDiscriminator(nn.Module):
    """Discriminator of SRGAN (Ledig et al., CVPR 2017), 38,245,569 parameters at 128x128.

    Eight 3x3 convolutions, every second one halving the size, batch norm but after the first, LeakyReLU(0.2); two linear
    layers. The paper's images, and so its input, are in [-1, 1]; the conversion is inside.

    Args:
        num_feat: channels of the first convolution; 2, 4 and 8 times as many follow.
        size: side of the images, a multiple of 16.
        num_hidden: units of the first linear layer.

    Shape:
        (B, 3, size, size) in [0, 1] -> (B, 1), a logit for each image.
    """

    def __init__(self, num_feat: int = 64, size: int = 128, num_hidden: int = 1024):
        super().__init__()
        check_counts("SRGANDiscriminator", num_feat=num_feat, num_hidden=num_hidden)
        check_multiple("SRGANDiscriminator", "size", size, 16)
        self.size = size
        layers = [conv(3, num_feat), nn.LeakyReLU(0.2)]
        channels = num_feat
        for multiple, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)):
            wider = multiple * num_feat
            layers += [conv(channels, wider, stride=stride), nn.BatchNorm2d(wider), nn.LeakyReLU(0.2)]
            channels = wider
        self.features = nn.Sequential(*layers)
        pixels = (size // 16) ** 2
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * pixels, num_hidden), nn.LeakyReLU(0.2), nn.Linear(num_hidden, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_images(self, x, self.size)
        return self.classifier(self.features(to_signed(x)))


@register_discriminator
class WIPADiscriminator(nn.Module):
    """Discriminator of WIPA (Dastmalchi and Aghaeinia, SPIC 2022), 4,855,617 parameters at 128x128.

    Four 4x4 convolutions halve the size, one as large as what is left (8x8) follows, then a linear layer. The published
    file has 302,080 more parameters in layers which are never called. Its slope and range are taken from the generator:
    LeakyReLU(0.1) and [-1, 1]. Weights start from N(0, 0.02), as the generator's.

    Args:
        num_feat: channels of the first and of the last convolution; 2, 4 and 8 times as many between.
        size: side of the images, a multiple of 16.

    Shape:
        (B, 3, size, size) in [0, 1] -> (B, 1), a logit for each image.
    """

    def __init__(self, num_feat: int = 64, size: int = 128):
        super().__init__()
        check_counts("WIPADiscriminator", num_feat=num_feat)
        check_multiple("WIPADiscriminator", "size", size, 16)
        self.size = size
        layers = [nn.Conv2d(3, num_feat, 4, 2, 1), nn.LeakyReLU(0.1)]
        for channels in (num_feat, 2 * num_feat, 4 * num_feat):
            layers += [nn.Conv2d(channels, 2 * channels, 4, 2, 1), nn.BatchNorm2d(2 * channels), nn.LeakyReLU(0.1)]
        layers += [nn.Conv2d(8 * num_feat, num_feat, size // 16), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(num_feat, 1)]
        self.layers = nn.Sequential(*layers)
        normal_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_images(self, x, self.size)
        return self.layers(to_signed(x))


@register_discriminator
class MRRNetDiscriminator(nn.Module):
    """Discriminator of MRRNet (Huang et al., ICANN 2022), 390,720 parameters.

    Four 3x3 convolutions with stride 2, reflection padding and spectral norm, LeakyReLU(0.2); the last, without bias, gives
    one number for each patch, bounded by tanh. Its published input is in [-1, 1]; the conversion is inside. Weights
    start from N(0, 0.02).

    Args:
        num_feat: channels of the first convolution; 2, 4 and 8 times as many follow.

    Shape:
        (B, 3, H, W) in [0, 1] -> (B, 1, H / 16, W / 16) in (-1, 1).
    """

    def __init__(self, num_feat: int = 32):
        super().__init__()
        check_counts("MRRNetDiscriminator", num_feat=num_feat)
        plain: list[nn.Sequential] = []
        channels = 3
        for multiple in (1, 2, 4, 8):
            plain.append(reflect_conv(channels, multiple * num_feat, stride=2))
            channels = multiple * num_feat
        last = reflect_conv(channels, 1, bias=False)
        normal_init(nn.ModuleList([*plain, last]))  # before the norm is estimated from the weights
        layers: list[nn.Module] = []
        for pad, convolution in plain:
            layers += [pad, spectral_norm(convolution), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, *last, nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_images(self, x, None)
        return self.layers(to_signed(x))
