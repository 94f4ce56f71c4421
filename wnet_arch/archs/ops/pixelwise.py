"""Operations between convolutions, in forms that read and keep little. Layout is kept; channels-last is the fast one."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def global_mean(x: torch.Tensor) -> torch.Tensor:
    """Mean over all pixels of each channel: (B, C, H, W) -> (B, C, 1, 1).

    For channels-last images by a matrix product, whose gradient is channels-last, too: that of ``mean`` is not, and every
    sum with it would be a sum of two layouts.
    """
    if not _is_channels_last(x) or x.dtype == torch.float16:  # in which a share of many pixels is next to nothing
        return x.mean((2, 3), keepdim=True)
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
    share = pixels.new_full((1, 1, pixels.shape[1]), 1 / pixels.shape[1])
    return torch.matmul(share, pixels).permute(0, 2, 1).unsqueeze(3)


def mean_over_channels(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, 1, H, W); see :func:`global_mean`."""
    if not _is_channels_last(x):
        return x.mean(1, keepdim=True)
    pixels = x.permute(0, 2, 3, 1)
    return torch.matmul(pixels, pixels.new_full((pixels.shape[3], 1), 1 / pixels.shape[3])).permute(0, 3, 1, 2)


def _is_channels_last(x: torch.Tensor) -> bool:
    """Whether it is, and is not contiguous in the usual order as well."""
    return not in_transform() and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def in_transform() -> bool:
    """Whether ``torch.func`` looks on (``vmap``, ``grad``, ``jvp``), for which tensors have no layout and shortcuts do not hold."""
    return torch._C._are_functorch_transforms_active()


def gated(x: torch.Tensor, by_channel: torch.Tensor, by_pixel: torch.Tensor) -> torch.Tensor:
    """x * by_channel + x * by_pixel, with gates (B, C, 1, 1) and (B, 1, H, W); keeps x and the gates for the backward pass."""
    if torch.is_grad_enabled() and not torch.jit.is_tracing() and not in_transform():
        return _Gated.apply(x, by_channel.to(x.dtype), by_pixel.to(x.dtype))
    return _times_sum(x, by_channel, by_pixel)


def _times_sum(x: torch.Tensor, by_channel: torch.Tensor, by_pixel: torch.Tensor) -> torch.Tensor:
    pixels, by_channel, by_pixel = (part.permute(0, 2, 3, 1) for part in (x, by_channel, by_pixel))
    return (pixels * (by_channel + by_pixel)).permute(0, 3, 1, 2)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, by_channel, by_pixel):
        ctx.save_for_backward(x, by_channel, by_pixel)
        return _times_sum(x, by_channel, by_pixel)

    @staticmethod
    def backward(ctx, grad):
        x, by_channel, by_pixel = ctx.saved_tensors
        product = grad * x
        pixels = product.permute(0, 2, 3, 1)
        ones = pixels.new_ones(pixels.shape[3], 1)
        to_pixel = torch.matmul(pixels, ones).permute(0, 3, 1, 2)
        return _times_sum(grad, by_channel, by_pixel), _global_sum(product), to_pixel


def _global_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum over all pixels of each channel: (B, C, H, W) -> (B, C, 1, 1)."""
    if x.dtype == torch.float16:  # a mean of a million pixels is too small for it
        return x.sum((2, 3), keepdim=True, dtype=torch.float32).to(x.dtype)
    return global_mean(x) * x[0, 0].numel()


def unit_length(x: torch.Tensor) -> torch.Tensor:
    """Rows (..., N) by their L2 norms. Half precision is left for that: squares of small numbers are 0 in it."""
    return F.normalize(x.float(), dim=-1).to(x.dtype) if x.dtype == torch.float16 else F.normalize(x, dim=-1)


def gram(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Scalar products of channels over all pixels: (B, C, H, W), (B, D, H, W) -> (B, C, D), float32 at least.

    In half precision the products are summed over about a hundred pixels there, and those sums in float32.
    """
    first, second = (part.permute(0, 2, 3, 1).flatten(1, 2) for part in (first, second))
    pixels = first.shape[1]
    run = next((size for size in (256, 64) if pixels % size == 0), pixels)
    first, second = (part.unflatten(1, (pixels // run, run)) for part in (first, second))
    sums = torch.matmul(first.transpose(-2, -1), second)
    return sums.sum(1, dtype=torch.promote_types(sums.dtype, torch.float32))
