"""Operations between convolutions against plain ones: in float16, and under torch.func."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, grad, jvp, vmap

from wnet_arch import create_network
from wnet_arch.archs.ops.pixelwise import gated, global_mean, unit_length


def channels_last(*shape: int) -> torch.Tensor:
    return torch.rand(*shape).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [16, 512])
def test_float16_counts_large_grids_as_well(side):
    """1 / 512^2 is a number of which float16 keeps two bits."""
    torch.manual_seed(0)
    x = channels_last(1, 8, side, side)
    torch.testing.assert_close(global_mean(x.half()).float(), x.mean((2, 3), keepdim=True), rtol=1e-3, atol=0)
    gates = [torch.rand(1, 8, 1, 1), torch.rand(1, 1, side, side)]
    back = (channels_last(1, 8, side, side) - 0.5) / side
    found, wanted = [], []
    for dtype, grads in ((torch.float16, found), (torch.float64, wanted)):
        leaves = [value.to(dtype).requires_grad_() for value in (x, *gates)]
        gated(*leaves).backward(back.to(dtype))
        grads += [leaf.grad.double() for leaf in leaves]
    for one, other in zip(found, wanted):
        assert (one - other).abs().max() < 0.01 * other.abs().max()


def test_rows_of_small_numbers_have_unit_length_in_float16():
    rows = torch.full((2, 64), 1e-5, dtype=torch.float16)
    torch.testing.assert_close(unit_length(rows).float().norm(dim=-1), torch.ones(2), rtol=1e-2, atol=0)
    assert torch.equal(unit_length(torch.zeros(2, 64, dtype=torch.float16)), torch.zeros(2, 64, dtype=torch.float16))


def test_wnet_under_torch_func():
    """Gradients by parameter, batches by vmap and directional derivatives equal autograd's and single images."""
    torch.manual_seed(0)
    net = create_network("WNet", 8, num_feat=8, peak=1).eval().double()
    faces = torch.rand(2, 1, 3, 16, 16, dtype=torch.float64)
    weights, others = dict(net.named_parameters()), dict(net.named_buffers())

    def loss(weights: dict) -> torch.Tensor:
        return functional_call(net, (weights, others), (faces[0],)).square().mean()

    wanted = torch.autograd.grad(loss(weights), list(weights.values()), allow_unused=True)
    for one, other in zip(grad(loss)(weights).values(), wanted):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)
    with torch.no_grad():
        torch.testing.assert_close(vmap(net)(faces), torch.stack([net(face) for face in faces]))
        way, step = torch.rand_like(faces[0]), 1e-6
        slope = (net(faces[0] + step * way) - net(faces[0] - step * way)) / (2 * step)
    torch.testing.assert_close(jvp(net, (faces[0],), (way,))[1], slope, rtol=1e-4, atol=1e-4)
