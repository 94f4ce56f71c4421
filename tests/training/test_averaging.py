"""The moving average in grouped calls, against the plain loop that its docstring states."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from wnet_arch import create_network
from wnet_arch.training.averaging import MovingAverage

DECAY = 0.999


@torch.no_grad()
def plain_loop(average: nn.Module, current: nn.Module, decay: float) -> None:
    parameters, buffers = dict(current.named_parameters()), dict(current.named_buffers())
    for name, value in average.named_parameters():
        if parameters[name].requires_grad:
            value.mul_(decay).add_(parameters[name], alpha=1 - decay)
        else:
            value.copy_(parameters[name])
    for name, value in average.named_buffers():
        if value.is_floating_point():
            value.mul_(decay).add_(buffers[name], alpha=1 - decay)
        else:
            value.copy_(buffers[name])


class Mixed(nn.Module):
    """Several number formats, a buffer that its owner replaces in every forward pass, and one that is used twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.again = self.conv
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("exact", torch.rand(3, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("flag", torch.tensor(True))

    def forward(self, x):
        self.seen = self.seen + 1
        return self.norm(self.conv(x))


def step(net: nn.Module, seed: int) -> None:
    """What a step of training changes: parameters by a random amount, statistics by a forward pass, one number of each counter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.parameters():
            if value.requires_grad:
                value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
        x = torch.rand(2, 4, 8, 8, generator=generator) if isinstance(net, Mixed) else torch.rand(2, 3, 8, 8, generator=generator)
        net.train()(x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("make", [lambda: create_network("WNetLite", 8, num_feat=16, depths=[1, 1, 1, 1]), Mixed])
def test_many_steps_equal_the_plain_loop_bit_for_bit(make, layout):
    torch.manual_seed(0)
    net = make().to(memory_format=layout)
    next(net.parameters()).requires_grad_(False)
    expected, grouped = (copy.deepcopy(net).requires_grad_(False).eval() for _ in range(2))
    average = MovingAverage(grouped, net)
    for number in range(4):
        step(net, number)
        plain_loop(expected, net, DECAY)
        average.move(DECAY)
    states = (module.state_dict() for module in (expected, grouped, net))
    for name, (one, other, current) in zip(net.state_dict(), zip(*(state.values() for state in states))):
        assert torch.equal(one, other), name
        assert one.dtype == current.dtype, name
    if isinstance(net, Mixed):
        assert not torch.equal(grouped.norm.running_mean, net.norm.running_mean)  # statistics of its own


def test_without_a_past_the_average_is_the_network():
    net, other = Mixed(), Mixed()
    step(net, 1)
    MovingAverage(other, net).move(0)
    assert all(torch.equal(one, two) for one, two in zip(net.state_dict().values(), other.state_dict().values()))
