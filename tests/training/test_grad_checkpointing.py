"""Gradient checkpointing: nothing but memory and time may differ, for every network."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.models import build_model
from torch import nn

from tests.archs.test_networks import faces, small, tensors
from tests.cli.test_train_command import run_options, write_options
from tests.models.test_models import options, train
from wnet_arch import create_network, list_networks
from wnet_arch.archs import ctcnet_arch
from wnet_arch.cli import basicsr as command
from wnet_arch.errors import UsageError
from wnet_arch.inference import profiling
from wnet_arch.training.grad_checkpointing import checkpoint_blocks, switch_on

#: Variants with repeated blocks, or quicker ones, where those of test_networks.py are not.
REPEATED = {"VDSR": {"num_feat": 8, "num_layers": 12}, "CTCNet": {"num_feat": 4, "num_refinements": 2}}
WITHOUT_BLOCKS = ("Bicubic", "SRCNN")


def pair(name: str) -> tuple[nn.Module, nn.Module, int]:
    """The same network twice, in training and float64; the second with gradient checkpointing, and how many blocks it has."""
    torch.manual_seed(0)
    plain = create_network(name, 8, **REPEATED[name]) if name in REPEATED else small(name, 8)
    plain = plain.double().train()
    for module in plain.modules():  # stochastic depth, which the quick networks leave out
        if hasattr(module, "rate"):
            module.rate = 0.5
    thrifty = copy.deepcopy(plain)
    return plain, thrifty, checkpoint_blocks(thrifty)


def step(net: nn.Module, lq: torch.Tensor) -> tuple[list, list]:
    """Outputs, and gradients of a loss of all of them."""
    torch.manual_seed(0)
    outputs = tensors(net(lq, return_aux=True))
    loss = sum((out * torch.linspace(0.5, 1, out.numel(), dtype=out.dtype).view_as(out)).mean() for out in outputs)
    gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    return outputs, gradients


@pytest.mark.parametrize("name", [name for name in list_networks() if name not in WITHOUT_BLOCKS])
def test_outputs_gradients_statistics_and_random_numbers_are_the_same(name, monkeypatch):
    monkeypatch.setattr(ctcnet_arch, "NUM_ATT_FEAT", 8)
    plain, thrifty, count = pair(name)
    assert count > 1
    lq = faces(plain, batch=1 if plain.size_multiple > 64 else 2).double()  # one large face is slow enough
    (outputs, gradients), after = step(plain, lq), torch.rand(())
    (outputs2, gradients2), after2 = step(thrifty, lq), torch.rand(())
    assert all(torch.equal(a, b) for a, b in zip(outputs, outputs2))
    for one, other in zip(gradients, gradients2):
        assert (one is None) == (other is None)
        if one is not None:
            assert (one - other).norm() <= 1e-9 * one.norm()
    before, state = plain.state_dict(), thrifty.state_dict()
    assert list(before) == list(state)
    assert all(torch.equal(before[key], state[key]) for key in state)  # running statistics moved once
    assert after == after2
    assert profiling.kept_for_backward(thrifty, lq) < profiling.kept_for_backward(plain, lq)


def test_options_are_checked_before_anything_is_made(tmp_path, face_set, monkeypatch):
    opt = run_options(face_set)
    opt.update(model_type="FaceSRModel", network_g={"type": "SRCNN", "scale": 8})
    opt["train"].update(grad_checkpointing=True, pixel_opt={"type": "L1Loss"})
    del opt["train"]["wnet_opt"]
    file = write_options(tmp_path / "tiny.yml", opt)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"train.grad_checkpointing: SRCNN has no repeated blocks"):
        command._main(["train", "-opt", str(file)])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yml"]


@pytest.mark.parametrize("name", WITHOUT_BLOCKS)
def test_networks_without_blocks_are_refused(name):
    with pytest.raises(UsageError, match=f"train.grad_checkpointing: {name} has no repeated blocks"):
        switch_on(create_network(name, 8))


class Block(nn.Module):
    """Takes two tensors and an option, gives a tuple; counts how often it is computed."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, momentum=None), nn.Dropout(0.5)
        self.computed = 0

    def forward(self, x, y, *, factor):
        self.computed += 1
        return self.drop(self.norm(self.conv(x + factor * y))), y


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Block(), Block()

    def forward(self, x):
        return self.second(*self.first(x, x, factor=2), factor=0.5)[0]


def computed_in_a_step(net: nn.Module) -> list[int]:
    net(torch.rand(4, 2, 3, 3)).square().sum().backward()
    return [net.first.computed, net.second.computed]


def test_blocks_are_computed_again_in_training_only():
    net = Net()
    assert computed_in_a_step(net.train()) == [1, 1]
    assert checkpoint_blocks(net) == 2
    assert checkpoint_blocks(net) == 2  # not twice
    assert computed_in_a_step(net) == [3, 3]
    assert net.first.norm.num_batches_tracked == 2
    assert net.first.norm.momentum is None
    assert computed_in_a_step(net.eval()) == [4, 4]
    with torch.no_grad():
        net.train()(torch.rand(4, 2, 3, 3))
    assert net.first.computed == 5


def test_copies_are_networks_of_their_own():
    net = Net().train()
    checkpoint_blocks(net)
    other = copy.deepcopy(net)
    assert isinstance(other.first, Block)
    assert computed_in_a_step(other) == [2, 2]
    assert net.first.computed == 0
    assert net.first.conv.weight.grad is None


def test_inputs_changed_before_the_backward_pass_are_an_error_not_a_wrong_gradient():
    class Careless(Net):
        def forward(self, x):
            y, x = self.first(x, x, factor=1)
            out = self.second(y, x, factor=1)[0].sum()
            y.mul_(2)
            return out

    net = Careless().train()
    checkpoint_blocks(net)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        net(torch.rand(4, 2, 3, 3)).backward()


def test_weights_that_every_pass_changes_are_left_alone():
    class Normed(Net):
        def __init__(self):
            super().__init__()
            nn.utils.parametrizations.spectral_norm(self.first.conv)
            nn.utils.spectral_norm(self.second.conv)

    assert checkpoint_blocks(Normed()) == 0


def test_distributed_wrappers_change_nothing(tmp_path):
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        plain, thrifty = (create_network("SPARNet", 8, num_feat=8, num_blocks=1).train() for _ in range(2))
        thrifty.load_state_dict(plain.state_dict())
        wrapped = DistributedDataParallel(thrifty)
        assert checkpoint_blocks(thrifty) == 7  # as a model does it: behind the wrapper's back
        for net in (plain, wrapped):
            for seed in range(2):
                net(faces(plain, batch=2, seed=seed)).square().mean().backward()
        assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), thrifty.parameters()))
        assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), thrifty.buffers()))
    finally:
        dist.destroy_process_group()


def test_a_network_may_have_a_way_of_its_own():
    class Own(Net):
        def set_grad_checkpointing(self, enable):
            self.enabled = enable

    net = Own().train()
    assert checkpoint_blocks(net) == 1
    assert net.enabled
    assert computed_in_a_step(net) == [1, 1]


def test_bf16_gradients_are_the_same():
    gradients = []
    for thrifty in (False, True):
        torch.manual_seed(0)
        net = create_network("SPARNet", 8, num_feat=8, num_blocks=1).train()
        if thrifty:
            checkpoint_blocks(net)
        with torch.autocast("cpu", torch.bfloat16):
            out = net(torch.rand(1, 3, 8, 8))
        out.float().square().mean().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(2, 3, 64, 64, generator=generator)
    return {"lq": nn.functional.avg_pool2d(gt, 8), "gt": gt, "parsing": torch.ones(2, 64, 64, dtype=torch.uint8)}


@pytest.mark.parametrize("network", [{"type": "WNet", "peak": 1}, {"type": "SPARNet", "num_blocks": 1}])
def test_a_run_is_the_same_with_it(tmp_path, batch, network):
    logs, nets = [], []
    for thrifty in (False, True):
        opt = options(tmp_path, "FaceSRModel", grad_checkpointing=thrifty, ema_decay=0.9)
        opt["network_g"] = {"scale": 8, "num_feat": 8, **network}
        torch.manual_seed(0)
        model = build_model(opt)
        logs.append(train(model, batch, 3))
        nets.append({**model.net_g.state_dict(), **{f"average {k}": v for k, v in model.net_g_ema.state_dict().items()}})
        model.feed_data(batch)
        model.test()
    assert logs[0] == logs[1]
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])


def test_compiled_batchnorm_is_refused(tmp_path):
    opt = options(tmp_path, "FaceSRModel", grad_checkpointing=True, compile=True)
    opt["network_g"] = {"type": "SPARNet", "scale": 8, "num_feat": 8, "num_blocks": 1}
    with pytest.raises(UsageError, match=r"not with train.compile for SPARNet: compiled blocks"):
        build_model(opt)


def test_memory_is_counted_as_by_hand(capsys):
    """A chain of 12 convolutions keeps the input of every one, and the last nothing else: ReLU's outputs are those inputs."""
    costs = [profiling.cost("VDSR", 8, num_feat=8, num_layers=12)]
    profiling.count_memory(costs, {"VDSR": {"num_feat": 8, "num_layers": 12}})
    pixels = 128 * 128 * 4
    plain, thrifty = costs[0].kept
    assert plain == (3 + 11 * 8) * pixels
    assert thrifty < plain / 2
    assert profiling.table(costs).splitlines()[1].split()[-2:] == [f"{n / 2**20:.1f}" for n in costs[0].kept]
