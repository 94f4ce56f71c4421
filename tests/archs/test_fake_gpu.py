"""Mistakes that only a GPU would show, found without one: fake tensors know device and shape, and compute nothing.

A tensor made on the CPU inside a forward pass fails on a GPU where it meets another, or, copied there by ``.to``, lets the GPU
wait for the host. Both are found here.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.archs.test_networks import SMALL
from wnet_arch import create_network, list_networks
from wnet_arch.archs.base import NETWORKS
from wnet_arch.losses.wnet_loss import WNetLoss
from wnet_arch.training import accumulation, validation
from wnet_arch.training.averaging import MovingAverage
from wnet_arch.training.loss_values import FiniteCheck, stacked

GPU = torch.device("cuda")


def why_not() -> str:
    """Why this torch cannot do it; empty if it can."""
    try:
        with FakeTensorMode(), torch.no_grad():
            nn.Conv2d(3, 3, 1, device=GPU)(torch.zeros(1, 3, 4, 4, device=GPU))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).splitlines()[0]
    return ""


REASON = why_not()
CASES = [(name, scale) for name in list_networks() for scale in NETWORKS[name].scales]
pytestmark = pytest.mark.skipif(bool(REASON), reason=f"this torch has no fake tensors on a GPU: {REASON}")


class NothingOnTheCPU(TorchDispatchMode):
    """Fails where an operation makes a tensor on the CPU; numbers of Python on their way to the GPU are no operation."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.lift_fresh.default:
            return out
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu"]
        assert not made, f"{function} made a tensor {tuple(made[0].shape)} on the CPU"
        return out


def build(make) -> nn.Module:
    with torch.device(GPU):
        return make()


def run_both_ways(net: nn.Module, lq: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of a training pass and of one in evaluation."""
    with NothingOnTheCPU():
        trained = net.train()(lq)
        with torch.no_grad():
            evaluated = net.eval()(lq)
    return [trained, evaluated]


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_every_network_stays_on_the_gpu(name, scale, monkeypatch):
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **options: tensor)  # reads values, which fake tensors do not have
    with FakeTensorMode():
        net = build(lambda: create_network(name, scale, **SMALL.get(name, {})))
        for out in run_both_ways(net, torch.zeros(2, 3, 128 // scale, 128 // scale, device=GPU)):
            assert out.shape == (2, 3, 128, 128)
            assert out.device.type == "cuda"


class OnTheCPU(nn.Module):
    def __init__(self, moved: bool):
        super().__init__()
        self.moved = moved

    def forward(self, x):
        mean = torch.tensor([0.5, 0.5, 0.5]).view(1, 3, 1, 1)
        return x - (mean.to(x) if self.moved else mean)


@pytest.mark.parametrize("moved", [False, True])
def test_a_constant_on_the_cpu_is_found(moved):
    with FakeTensorMode(), pytest.raises(AssertionError, match=r"made a tensor .* on the CPU"):
        run_both_ways(OnTheCPU(moved), torch.zeros(2, 3, 8, 8, device=GPU))
    if not moved:  # what a GPU would say
        with FakeTensorMode(), pytest.raises(Exception, match="on the same device"):
            OnTheCPU(moved)(torch.zeros(2, 3, 8, 8, device=GPU))


@pytest.mark.parametrize(
    "options", [{}, {"parsing_target": "lr", "scale": 8}, {"pixel_criterion": "l1", "grid_artifact_weight": 1.0}]
)
def test_losses_stay_on_the_gpu_until_they_are_read(options):
    with FakeTensorMode():
        sr, parsing, gt = (torch.zeros(2, 3, 128, 128, device=GPU, requires_grad=n < 2) for n in range(3))
        label = torch.zeros(2, 128, 128, dtype=torch.uint8, device=GPU)
        loss = build(lambda: WNetLoss(vgg=None, **options))
        with NothingOnTheCPU():
            terms = loss(sr, parsing, gt, label)
            means = accumulation.mean([terms, terms])
            bad = FiniteCheck(GPU, skip=False, several=False)._bad(terms)
            values = stacked(list(means.values()))
        assert values.device.type == bad.device.type == "cuda"
        assert values.shape == bad.shape == (len(terms),)


def test_the_average_and_the_faces_of_a_batch_stay_on_the_gpu():
    with FakeTensorMode():
        net, average = (build(lambda: create_network("SPARNet", 8, **SMALL["SPARNet"])) for _ in range(2))
        average.requires_grad_(False)
        with NothingOnTheCPU():
            MovingAverage(average, net).move(0.999)
            face = validation.face_of({"result": torch.zeros(4, 3, 64, 64, device=GPU)}, 2)
        assert face["result"].shape == (1, 3, 64, 64)
        assert all(value.device.type == "cuda" for value in average.state_dict().values())
