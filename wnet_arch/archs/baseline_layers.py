"""Pieces which several of the compared networks really have in common; W-Net's own are in ``layers.py``."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.ops.pixelwise import unit_length

# --- value ranges ----------------------------------------------------------------------------------------------------


def to_signed(x: torch.Tensor) -> torch.Tensor:
    """[0, 1] to [-1, 1]: "mean 0.5, std 0.5" of the SPARNet family."""
    return x * 2 - 1


def to_unit(x: torch.Tensor) -> torch.Tensor:
    """[-1, 1] to [0, 1]; half precision, which cannot hold 8 bit beside an offset, becomes float32."""
    return ((x.float() if x.dtype in (torch.float16, torch.bfloat16) else x) + 1) / 2


# --- convolutions ----------------------------------------------------------------------------------------------------


def conv(num_in_ch: int, num_out_ch: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Convolution with the zero padding that keeps the size (halves it with ``stride=2``)."""
    return nn.Conv2d(num_in_ch, num_out_ch, kernel, stride, kernel // 2, bias=bias)


def reflect_conv(num_in_ch: int, num_out_ch: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Sequential:
    """Reflection padding, then a convolution without zero padding (SPARNet's, and FSRNet's residual blocks)."""
    pad = nn.ReflectionPad2d(kernel // 2)
    return nn.Sequential(pad, nn.Conv2d(num_in_ch, num_out_ch, kernel, stride, bias=bias))


def pixel_shuffle_up(num_feat: int) -> nn.Sequential:
    """Doubles the size: 3x3 convolution to ``4 * num_feat`` channels and pixel shuffle, no activation."""
    return nn.Sequential(conv(num_feat, 4 * num_feat), nn.PixelShuffle(2))


class EDSRBlock(nn.Module):
    """EDSR's block without normalisation: ``x + res_scale * conv(relu(conv(x)))``, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, res_scale: float = 1.0):
        super().__init__()
        self.body = nn.Sequential(conv(num_feat, num_feat), nn.ReLU(), conv(num_feat, num_feat))
        self.res_scale = res_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.res_scale * self.body(x)


# --- initialisation --------------------------------------------------------------------------------------------------


def normal_init(network: nn.Module, std: float = 0.02) -> None:
    """Initialisation of SPARNet's training code, which its successors took over: all convolutions and linear layers from
    N(0, ``std``) with zero biases, the factors of batch norms from N(1, ``std``). Other norms and parameters stay as they are.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, std)
            nn.init.zeros_(module.bias)


def he_init(network: nn.Module) -> None:
    """He initialisation (ICCV 2015): all convolutions from N(0, 2 / fan_in), fan_in as torch counts it, with zero biases."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# --- channel attention -----------------------------------------------------------------------------------------------


class SqueezeGate(nn.Module):
    """Squeeze-and-excitation as in RCAN: ``x * sigmoid(k1(relu(k1(mean(x)))))``, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, reduction: int = 16):
        super().__init__()
        hidden = max(1, num_feat // reduction)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(num_feat, hidden, 1), nn.ReLU(), conv(hidden, num_feat, 1), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of every pixel, (B, C, H, W) to the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


# --- hourglasses -----------------------------------------------------------------------------------------------------


class AttentionHourglass(nn.Module):
    """Convolutional hourglass of SPARNet's attention (TIP 2021); CTCNet uses the same with PReLU.

    A level adds a branch at full size to one which is halved, processed by the next level and doubled again. Every
    convolution is 3x3 with reflection padding, batch norm and activation, and has ``num_feat`` outputs.

    Args:
        num_in_ch: channels of the input (B, num_in_ch, H, W); the output is (B, num_feat, H, W).
        depth: levels; H and W must be multiples of ``2 ** depth``, and at least twice that for the padding.
        num_feat: channels everywhere inside.
        activation: makes the activation that follows each batch norm.
    """

    def __init__(self, num_in_ch: int, depth: int, num_feat: int, activation: Callable[[], nn.Module]):
        super().__init__()

        def layer(channels: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                reflect_conv(channels, num_feat, stride=stride, bias=False), nn.BatchNorm2d(num_feat), activation()
            )

        self.skip = layer(num_in_ch)
        self.down = layer(num_in_ch, stride=2)
        deeper = depth > 1
        self.inner = AttentionHourglass(num_feat, depth - 1, num_feat, activation) if deeper else layer(num_feat)
        self.up = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), layer(num_feat))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.skip(x) + self.up(self.inner(self.down(x)))


class ResidualHourglass(nn.Module):
    """Stacked-hourglass level (Newell et al., ECCV 2016) made of residual blocks: the prior networks of DIC and FSRNet.

    Args:
        depth: levels; H and W of the input must be multiples of ``2 ** depth``.
        block: makes a residual block, (B, C, H, W) to the same; a level has three, the innermost four.
        up: doubles the size.
    """

    def __init__(self, depth: int, block: Callable[[], nn.Module], up: nn.Module):
        super().__init__()
        self.skip = block()
        self.pool = nn.MaxPool2d(2)
        self.low_in = block()
        self.inner = ResidualHourglass(depth - 1, block, up) if depth > 1 else block()
        self.low_out = block()
        self.up = up

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.low_out(self.inner(self.low_in(self.pool(x))))
        return self.skip(x) + self.up(low)


# --- SPARNet's layout ------------------------------------------------------------------------------------------------


class FaceAttentionUnit(nn.Module):
    """Pre-activation residual unit whose main path is weighted by an attention map (SPARNet).

    Going down the *second* convolution has stride 2; going up the features are doubled before the *first*.

    Args:
        num_in_ch, num_out_ch: (B, num_in_ch, H, W) becomes (B, num_out_ch, H', W').
        resize: "down", "keep" or "up".
        norm: makes the normalisation of that many channels.
        attention: gives the map which the main path is multiplied by; one channel or ``num_out_ch``.
    """

    def __init__(self, num_in_ch: int, num_out_ch: int, resize: str, norm: Callable[[int], nn.Module], attention: nn.Module):
        super().__init__()
        stride = 2 if resize == "down" else 1
        double = [nn.Upsample(scale_factor=2, mode="nearest")] if resize == "up" else []
        if resize == "keep" and num_in_ch == num_out_ch:
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.shortcut = nn.Sequential(*double, reflect_conv(num_in_ch, num_out_ch, stride=stride))
        self.main = nn.Sequential(
            norm(num_in_ch),
            nn.LeakyReLU(0.2),
            *double,
            reflect_conv(num_in_ch, num_out_ch, bias=False),
            norm(num_out_ch),
            nn.LeakyReLU(0.2),
            reflect_conv(num_out_ch, num_out_ch, stride=stride, bias=False),
            norm(num_out_ch),
        )
        self.attention = attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.main(x)
        return self.shortcut(x) + y * self.attention(y)


class FaceUnitNet(nn.Module):
    """The layout of SPARNet and MRRNet: three units down, some at 1/8 size, three up; no global residual.

    Args:
        unit: ``unit(num_in_ch, num_out_ch, resize, depth)`` makes a unit; ``depth`` is that of SPARNet's attention,
            chosen by its authors so that the hourglass ends at 4x4 for 128x128 images.
        num_feat: channels at full size; 2x and 4x below.
        num_blocks: units at 1/8 size.
    """

    def __init__(self, unit: Callable[[int, int, str, int], nn.Module], num_feat: int, num_blocks: int):
        super().__init__()
        n, n2, n4 = num_feat, 2 * num_feat, 4 * num_feat
        self.head = reflect_conv(3, n)
        self.encoder = nn.Sequential(unit(n, n2, "down", 4), unit(n2, n4, "down", 3), unit(n4, n4, "down", 2))
        self.middle = nn.Sequential(*(unit(n4, n4, "keep", 2) for _ in range(num_blocks)))
        self.decoder = nn.Sequential(unit(n4, n4, "up", 3), unit(n4, n2, "up", 4), unit(n2, n, "up", 5))
        self.tail = reflect_conv(n, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) to the same shape, both in [-1, 1]."""
        return self.tail(self.decoder(self.middle(self.encoder(self.head(x)))))


# --- Haar wavelet ----------------------------------------------------------------------------------------------------


def haar(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Orthonormal Haar transform, (B, C, H, W) to the bands LL, HL, LH, HH of (B, C, H / 2, W / 2) each.

    HL is right minus left column, LH bottom minus top row, HH the product of both.
    """
    top, bottom = x[..., 0::2, :], x[..., 1::2, :]
    low, high = (top + bottom) / 2, (bottom - top) / 2
    left, right = slice(0, None, 2), slice(1, None, 2)
    return (
        low[..., left] + low[..., right],
        low[..., right] - low[..., left],
        high[..., left] + high[..., right],
        high[..., right] - high[..., left],
    )


def inverse_haar(ll: torch.Tensor, hl: torch.Tensor, lh: torch.Tensor, hh: torch.Tensor) -> torch.Tensor:
    """Inverse of :func:`haar`: four bands (B, C, H, W) to (B, C, 2 * H, 2 * W)."""
    pixels = (ll - hl - lh + hh, ll + hl - lh - hh, ll - hl + lh - hh, ll + hl + lh + hh)
    return F.pixel_shuffle(torch.stack(pixels, dim=2).flatten(1, 2) / 2, 2)


# --- transformers over channels --------------------------------------------------------------------------------------


def split_heads(x: torch.Tensor, num_heads: int) -> torch.Tensor:
    """(B, C, H, W) to (B, heads, C / heads, H * W)."""
    return x.flatten(2).unflatten(1, (num_heads, -1))


def channel_similarity(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Cosine of every channel of ``q`` with every one of ``k``, over the pixels (Restormer, CVPR 2022).

    (B, heads, c, pixels) twice to (B, heads, c, c).
    """
    return unit_length(q) @ unit_length(k).transpose(-2, -1)


class PointDepthwise(nn.Sequential):
    """1x1 convolution and 3x3 depthwise convolution, the projections of Restormer's attention."""

    def __init__(self, num_in_ch: int, num_out_ch: int, bias: bool = False):
        super().__init__(
            conv(num_in_ch, num_out_ch, 1, bias=bias),
            nn.Conv2d(num_out_ch, num_out_ch, 3, padding=1, groups=num_out_ch, bias=bias),
        )


class GatedFeedForward(nn.Module):
    """Gated depthwise feed-forward network of Restormer, without biases, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, expansion: float = 2.66):
        super().__init__()
        hidden = int(num_feat * expansion)
        self.widen = PointDepthwise(num_feat, 2 * hidden)
        self.narrow = conv(hidden, num_feat, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.widen(x).chunk(2, dim=1)
        return self.narrow(F.gelu(gate) * value)
