"""Layers in a row that make one layer: the weights of that one. Exact but for rounding; shapes are those of ``nn.Conv2d``."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn


def bias_of(conv: nn.Conv2d) -> torch.Tensor:
    """The bias (O,) of a convolution that was made with one.

    Raises:
        ValueError: it has none.
    """
    if conv.bias is None:
        raise ValueError("a convolution without bias stands where one with bias is needed")
    return conv.bias


def affine_of(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and shift of every channel (C,), (C,) that batch normalisation applies in evaluation.

    Raises:
        ValueError: the layer has no running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("batch normalisation without running statistics cannot become part of a convolution")
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return factor, norm.bias - norm.running_mean * factor


def compose(second: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """The kernel of two convolutions in a row: (O, C, k, k) after (C, I, m, m) is (O, I, k + m - 1, k + m - 1).

    Where ``first`` pads, the pair sees zeros between the two that this kernel does not.
    """
    reach = second.shape[-1] - 1
    padded = F.pad(first.transpose(0, 1), [reach] * 4)
    return F.conv2d(padded, second.flip(-2, -1)).transpose(0, 1)


def upsampling(up: nn.Sequential) -> tuple[torch.Tensor, torch.Tensor]:
    """:class:`~wnet_arch.archs.layers.Upsample` in evaluation, as a transposed convolution with stride 2.

    Returns:
        Kernel (I, O, 2, 2), and the bias of each of the four pixels, (O, 2, 2).
    """
    pointwise, norm = cast(nn.Conv2d, up[0]), cast(nn.BatchNorm2d, up[2])
    factor, shift = affine_of(norm)
    channels = len(factor)
    kernel = pointwise.weight.reshape(channels, 2, 2, -1) * factor[:, None, None, None]
    bias = bias_of(pointwise).reshape(channels, 2, 2) * factor[:, None, None] + shift[:, None, None]
    return kernel.permute(3, 0, 1, 2), bias


def downsampling(down: nn.Sequential) -> tuple[torch.Tensor, torch.Tensor]:
    """:class:`~wnet_arch.archs.layers.Downsample` in evaluation, as a convolution with stride 2: (O, I, 2, 2), (O,)."""
    pointwise, norm = cast(nn.Conv2d, down[1]), cast(nn.BatchNorm2d, down[2])
    factor, shift = affine_of(norm)
    channels = len(factor)
    kernel = pointwise.weight.reshape(channels, -1, 2, 2) * factor[:, None, None, None]
    return kernel, bias_of(pointwise) * factor + shift


def convolution_and_downsampling(conv: nn.Conv2d, down: nn.Sequential) -> tuple[torch.Tensor, torch.Tensor]:
    """A padded 3x3 convolution and a Downsample: one 4x4 convolution with stride 2 and padding 1, (O, I, 4, 4), (O,)."""
    kernel, bias = downsampling(down)
    return compose(kernel, conv.weight), bias + kernel.sum((2, 3)) @ bias_of(conv)


def convolution_and_halving(conv: nn.Conv2d, pointwise: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """The same up to the normalisation, which in training needs the batch: pixel unshuffle and ``pointwise`` alone.

    One layer does less than half the work of both, as the 3x3 convolution's result is never needed at every pixel.
    Downsample does not pad, so this holds at the borders, too.
    """
    kernel = pointwise.weight.flatten(1).unflatten(1, (-1, 2, 2))
    return compose(kernel, conv.weight), bias_of(pointwise) + kernel.sum((2, 3)) @ bias_of(conv)


def embedded_convolution(embed: nn.Conv2d, conv: nn.Conv2d) -> torch.Tensor:
    """A 1x1 convolution and a padded 3x3 one as a 3x3 kernel (O, I + 1, 3, 3), without the bias of the second.

    Its last input is a channel of ones, so that the first one's bias ends at the border, as it does there.
    """
    first = torch.cat([embed.weight, bias_of(embed)[:, None, None, None]], dim=1)
    return compose(conv.weight, first)


def convolution_of_upsampling(kernel: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """:func:`upsampling`'s kernel (I, C, 2, 2) and a padded 3x3 convolution: (I, O, 4, 4), for stride 2 and padding 1.

    Four products make a pixel instead of nine. Biases are left out: that of the Upsample ends at the border.
    """
    return F.conv2d(F.pad(kernel, [2] * 4), conv.weight)


def on_small_grid(kernel: torch.Tensor, factor: int) -> torch.Tensor:
    """A convolution of an image enlarged to nearest neighbours, computed on the image itself.

    Args:
        kernel: (O, I, k, k), of the padded convolution after the enlargement.
        factor: of the enlargement.

    Returns:
        (factor * factor * O, I, m, m): all pixels that a pixel becomes, row by row, as channels. Zero padding is right but
        for what ``kernel`` would see of intermediate results outside the image (see :func:`compose`).
    """
    size = kernel.shape[-1]
    reach = -(-(size // 2) // factor)
    meets = kernel.new_zeros(factor, size, 2 * reach + 1)  # [pixel, place in the kernel, small pixel found there]
    for pixel in range(factor):
        for place in range(size):
            meets[pixel, place, (pixel + place - size // 2) // factor + reach] = 1
    return torch.einsum("ocvw,ivm,jwn->ijocmn", kernel, meets, meets).flatten(0, 2)
