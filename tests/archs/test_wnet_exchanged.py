"""Whatever part of W-Net is exchanged: inference, training and the modules called one by one compute the same network."""

from __future__ import annotations

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from tests.archs.test_wnet_inference import perturbed
from wnet_arch import create_network
from wnet_arch.archs import layers, wnet_arch
from wnet_arch.archs.layers import SCAB, Downsample, Upsample
from wnet_arch.archs.ops.as_built import Contents
from wnet_arch.archs.wnet_blocks import LPF, MultiScaleAttentionUnit
from wnet_arch.archs.wnet_prepared import is_as_built

#: Parts of the trunk that are called by the fast form, too; the weights of all others are read.
CALLED = ("parsing", "encoder_blocks", "decoder_blocks")


@pytest.fixture(scope="module")
def trunk() -> nn.Module:
    torch.manual_seed(0)
    return perturbed(create_network("WNet", 8, num_feat=8, peak=2)).double().eval().trunk


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def places(root: nn.Module) -> dict[tuple, str]:
    """A module of every kind in every kind of place, from a walk over all; what repeats itself is one place."""
    found = {}
    for name, module in root.named_modules():
        if name:
            path = name.split(".")
            above = type(root.get_submodule(".".join(path[:-2])))
            if path[0].startswith(("encoder", "decoder")):
                path[1:2] = ["level"] * (len(path) > 1)
            top = "called" if path[0] in CALLED and len(path) > 1 else path[0]
            found.setdefault((top, above, *path[-2:], type(module)), name)
    return found


class Louder(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, *inputs):
        return 1.5 * self.inner(*inputs)


def subclass(module):
    module.__class__ = type(
        "Other", (type(module),), {"forward": lambda self, *inputs: 1.5 * super(type(self), self).forward(*inputs)}
    )


def own_forward(module):
    original = module.forward
    module.forward = lambda *inputs: 1.5 * original(*inputs)


def hook(module):
    module.register_forward_hook(lambda module, inputs, output: 1.5 * output)


def pre_hook(module):
    module.register_forward_pre_hook(lambda module, inputs: tuple(1.5 * value for value in inputs))


#: What can be done to a module as it stands; returns whether it fits this kind of module.
CHANGES = [subclass, own_forward, hook, pre_hook]


def change_of(*attributes):
    def change(module):
        if not all(hasattr(module, name) for name, _ in attributes) or not isinstance(module, nn.Conv2d):
            return False
        for name, value in attributes:
            setattr(module, name, value)

    return change


def weight_norm(module):
    return isinstance(module, nn.Conv2d) and parametrizations.weight_norm(module) is not None


def old_weight_norm(module):
    return isinstance(module, nn.Conv2d) and nn.utils.weight_norm(module) is not None


def no_bias(module):
    if getattr(module, "bias", None) is None:
        return False
    module.bias = None


def larger_kernel(module):
    if not isinstance(module, nn.Conv2d):
        return False
    module.weight = nn.Parameter(nn.functional.pad(module.weight.detach(), [1] * 4, value=0.1))
    module.padding = tuple(side + 1 for side in module.padding)


CHANGES += [
    change_of(("padding_mode", "reflect")), change_of(("padding_mode", "circular")),
    change_of(("dilation", (2, 2)), ("padding", (2, 2))), change_of(("padding", "same")),
    weight_norm, old_weight_norm, no_bias, larger_kernel,
]  # fmt: skip


def new_weights(module):
    if not isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
        return False
    module.weight = nn.Parameter(module.weight.detach().flip(0) + 0.1)


def written_weights(module):
    if not isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
        return False
    module.weight.data.neg_()  # of equal norm


def normalisation(module):
    if not isinstance(module, nn.BatchNorm2d):
        return False
    module.eps, module.momentum = 0.1, 0.5
    module.running_var.data.mul_(1.5)


def without_affine(module):
    if not isinstance(module, nn.BatchNorm2d):
        return False
    module.weight = module.bias = None


def without_statistics(module):
    if not isinstance(module, nn.BatchNorm2d):
        return False
    module.running_mean = module.running_var = None


def batch_statistics(module):
    return isinstance(module, nn.BatchNorm2d) and module.train() is not None


CHANGES += [new_weights, written_weights, normalisation, without_affine, without_statistics, batch_statistics]

#: What can be put in a module's place.
REPLACEMENTS = {
    "louder": Louder,
    "identity": lambda module: nn.Identity(),
    "alone": nn.Sequential,
    "sigmoid behind": lambda module: nn.Sequential(module, nn.Sigmoid()),
    "group norm": lambda module: nn.GroupNorm(2, 8).double() if isinstance(module, nn.BatchNorm2d) else None,
    "instance norm": lambda module: nn.InstanceNorm2d(8, affine=True).double() if isinstance(module, nn.BatchNorm2d) else None,
    "leaky": lambda module: nn.LeakyReLU(0.2) if isinstance(module, nn.ReLU) else None,
    "maximum": lambda module: nn.AdaptiveMaxPool2d(1) if isinstance(module, nn.AdaptiveAvgPool2d) else None,
}


def variants(root: nn.Module, name: str):
    """What can stand in a place, and what it is called."""
    module = root.get_submodule(name)
    for change in CHANGES:
        other = copy.deepcopy(module)
        if change(other) is not False:
            yield f"{name}: {change.__name__}", other
    for what, make in REPLACEMENTS.items():
        other = make(copy.deepcopy(module))
        if other is not None:
            yield f"{name}: {what}", other


@contextmanager
def standing(root: nn.Module, name: str, module: nn.Module):
    """Context in which a module stands in a place."""
    parent, _, last = name.rpartition(".")
    before = root.get_submodule(name)
    root.get_submodule(parent)._modules[last] = module
    try:
        yield
    finally:
        root.get_submodule(parent)._modules[last] = before


@torch.no_grad()
def stands_for_the_modules(trunk: nn.Module, image: torch.Tensor, what: str) -> bool:
    """Whether the fast form is used; if it is, its results must be those of the modules."""
    found = trunk.prepared.run(trunk, image)
    if found is not None:
        wanted = trunk._layer_by_layer(image, None)
        for mine, theirs in zip(found, wanted):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5, msg=what)
    return found is not None


#: Changes after which everything can still be fast, wherever they are made.
HARMLESS = ("new_weights", "written_weights", "normalisation")


@pytest.mark.parametrize("called", [False, True])
def test_every_exchange_is_computed_or_leads_to_the_modules(trunk, image, called):
    """Every kind in every place: parts whose weights are read must be as built, or all is left to the modules. What the fast form
    may compute it does in turns, as it takes a while to be made anew.
    """
    may, turn, used = set(), 0, set()
    for place in places(trunk).values():
        if (place.split(".")[0] in CALLED) != called:
            continue
        for what, other in variants(trunk, place):
            with standing(trunk, place, other):
                as_built = is_as_built(trunk)
                assert called or as_built == what.endswith(HARMLESS), what
                may |= {what} if as_built else set()
                turn += 1
                if turn % (24 if as_built else 12) == 0:
                    used |= {what} if stands_for_the_modules(trunk, image, what) else set()
                    assert (what in used) == as_built, what
    assert {what.split(": ")[1] for what in may} >= set(HARMLESS[:2])
    assert len(used) > 3


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changes_of_a_network_that_has_been_used_are_seen(trunk, image, change):
    """And taken back again, where that can be."""
    net = copy.deepcopy(trunk)
    assert stands_for_the_modules(net, image, "as built")
    layer = net.encoder_fusions[0].conv_att
    changed = layer if change(layer) is not False else net.encoder_downs[0][2]
    assert changed is layer or change(changed) is not False
    assert stands_for_the_modules(net, image, change.__name__) == (change.__name__ in HARMLESS)


@pytest.mark.parametrize("cls", [LPF, nn.Conv2d, nn.BatchNorm2d, nn.Sequential, Upsample, Downsample, SCAB, nn.ReLU])
def test_patched_classes_are_seen(trunk, image, monkeypatch, cls):
    assert stands_for_the_modules(trunk, image, "as built")
    forward = cls.forward
    with monkeypatch.context() as patch:
        patch.setattr(cls, "forward", lambda self, *inputs: 1.5 * forward(self, *inputs))
        assert not stands_for_the_modules(trunk, image, cls.__name__)
    assert stands_for_the_modules(trunk, image, "as built again")


def test_backward_hooks_on_every_convolution_are_called(trunk):
    """Also on those whose weights a shortcut would read."""
    net = copy.deepcopy(trunk).train()
    heard, wanted = set(), {name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    for name, module in net.named_modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # torch refuses such hooks before a change in place
        if isinstance(module, nn.Conv2d):
            module.register_full_backward_hook(lambda module, before, after, name=name: heard.add(name))
    net(torch.rand(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)).sr.sum().backward()
    assert heard == wanted


def test_helpers_and_hooks_on_all_modules_are_seen(trunk, image, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(LPF, "_embedded", lambda self, parsing: (self.embed(parsing), self.conv_parsing(parsing.sum(1, True))))
        assert not stands_for_the_modules(trunk, image, "_embedded")
    handle = nn.modules.module.register_module_forward_hook(lambda module, inputs, output: None)
    assert not stands_for_the_modules(trunk, image, "hook on all")
    handle.remove()
    assert stands_for_the_modules(trunk, image, "as built")


def test_torchs_own_counting_changes_nothing(trunk, image):
    with FlopCounterMode(display=False) as counter:
        assert stands_for_the_modules(trunk, image, "counted")
    assert counter.get_total_flops() > 0


def test_subclasses_and_other_numbers_of_levels_are_not_read(trunk, image):
    class Other(type(trunk)):
        @staticmethod
        def _map_of_size(parsing, features):
            return nn.functional.interpolate(parsing, size=features.shape[-2:], mode="bilinear")

    net = copy.deepcopy(trunk)
    net.__class__ = Other
    assert not stands_for_the_modules(net, image, "subclass")
    net = copy.deepcopy(trunk)
    net.pyramid_fusions = net.pyramid_fusions[:1]
    assert not stands_for_the_modules(net, image, "a fusion fewer")
    net = copy.deepcopy(trunk)
    net.pyramid = nn.ModuleList(reversed(net.pyramid))
    assert not stands_for_the_modules(net, image, "down first")


def test_a_replica_is_not_its_original(trunk, image):
    """Shallow copies, as ``nn.DataParallel`` makes them, share what was prepared."""
    net = copy.deepcopy(trunk)
    assert stands_for_the_modules(net, image, "original")
    replica = net._replicate_for_data_parallel()
    assert replica.prepared is net.prepared
    replica.to_rgb = copy.deepcopy(net.to_rgb)
    replica.to_rgb.weight.data.mul_(2)
    assert stands_for_the_modules(replica, image, "replica")
    assert stands_for_the_modules(net, image, "original again")


def test_writes_are_told_from_none_whatever_the_layout():
    tensors = [torch.randn(3, 4, 5, 5).contiguous(memory_format=torch.channels_last), torch.randn(6, 4).t(), torch.tensor(3)]
    contents = Contents(tensors)
    assert (contents.written(), contents.comparison()()) == (False, False)
    for tensor in tensors[:2]:
        tensor.data.neg_()  # counted nowhere, and of the same norm
        assert (contents.written(), contents.comparison()()) == (False, True)
        tensor.data.neg_()
        assert not contents.comparison()()
    tensors[1].mul_(1)
    assert contents.written()


def test_moving_and_converting_is_seen(trunk, image):
    net = copy.deepcopy(trunk)
    assert stands_for_the_modules(net, image, "float64")
    net.float()
    assert net.prepared.run(net, image.float()) is None  # with gradients
    assert stands_for_the_modules(net, image.float(), "float32")
    net.to_rgb.double()
    with torch.no_grad():
        assert net.prepared.run(net, image.float()) is None


def test_the_decision_reads_no_tensor(trunk, image, monkeypatch):
    """Apart from what is compared: nothing waits for a GPU before its work is queued."""
    assert stands_for_the_modules(trunk, image, "as built")
    made = trunk.prepared.made
    for name in ("item", "tolist", "__bool__", "__float__", "norm"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *_: pytest.fail("a tensor was read"))
    monkeypatch.setattr(torch, "equal", lambda *_: pytest.fail("a tensor was read"))
    assert made.holds(trunk, made.key)


def every_module_called(monkeypatch) -> None:
    """Switches off everything that reads weights instead of calling modules."""
    for module in (layers, wnet_arch):
        monkeypatch.setattr(module, "untouched", lambda *modules: False)
        monkeypatch.setattr(module, "is_conv", lambda *_, **__: False)


BLOCKS = {
    "LPF": (lambda: LPF(8), ((2, 8, 6, 6), (2, 3, 6, 6))),
    "MultiScaleAttentionUnit": (lambda: MultiScaleAttentionUnit(8), ((2, 8, 6, 6),)),
    "SCAB": (lambda: SCAB(8), ((2, 8, 6, 6),)),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("training", [False, True])
def test_blocks_call_what_was_exchanged_in_them(name, training, monkeypatch):
    make, shapes = BLOCKS[name]
    torch.manual_seed(0)
    block = perturbed(make()).double().train(training)
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    compared = 0
    for place in places(block).values():
        for what, other in variants(block, place):
            with standing(block, place, other):
                try:
                    with monkeypatch.context() as patch:
                        every_module_called(patch)
                        wanted = block(*inputs)
                except (RuntimeError, TypeError, AttributeError, NotImplementedError):
                    continue  # does not fit there
                torch.testing.assert_close(block(*inputs), wanted, rtol=1e-8, atol=1e-8, msg=what)
                compared += 1
    assert compared > 150


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_pyramid_in_training_calls_what_was_exchanged_in_it(image, checkpointing, monkeypatch):
    torch.manual_seed(0)
    trunk = perturbed(create_network("WNet", 8, num_feat=8, peak=2)).double().train().trunk
    trunk.grad_checkpointing = checkpointing
    features = torch.cat([image, image], dim=1)
    compared = 0
    for place in [place for place in places(trunk).values() if place.startswith("pyramid.")]:
        for what, other in variants(trunk, place):
            with standing(trunk, place, other):
                results = []
                for called in (True, False):
                    state = copy.deepcopy(trunk.pyramid.state_dict())
                    with monkeypatch.context() as patch:
                        if called:
                            every_module_called(patch)
                        try:
                            result = trunk._through_pyramid(features, image)
                        except (RuntimeError, TypeError, NotImplementedError):
                            break
                    results.append((result, copy.deepcopy(trunk.pyramid.state_dict())))
                    trunk.pyramid.load_state_dict(state)
                if len(results) == 2:
                    torch.testing.assert_close(results[0], results[1], rtol=1e-8, atol=1e-8, msg=what)
                    compared += 1
    assert compared > 60
