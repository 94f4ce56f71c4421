"""Number formats, memory layout, compilation, clipping; and what happens when a loss is not a number."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model
from torch.utils.flop_counter import FlopCounterMode

from tests.archs.test_networks import SMALL
from tests.models.test_gan_models import gan_options
from tests.models.test_models import options, train
from wnet_arch import create_network, list_networks
from wnet_arch.archs.base import NETWORKS
from wnet_arch.errors import UsageError, WNetError
from wnet_arch.inference.profiling import cost
from wnet_arch.training import averaging
from wnet_arch.training import precision as precision_module
from wnet_arch.training.own_layers import Convolution, ceiling, convolutions, heaviest, seconds
from wnet_arch.training.precision import Precision, layer_times


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    faces = torch.rand(2, 3, 8, 8, generator=generator)
    gt = torch.nn.functional.interpolate(faces, scale_factor=8, mode="bilinear")
    names = ["a.png", "b.png"]
    return {"lq": faces, "gt": gt, "parsing": torch.ones(2, 64, 64, dtype=torch.uint8), "lq_path": names, "gt_path": names}


def trained(tmp_path, batch, steps=3, **settings):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, **settings))
    return model, train(model, batch, steps)


def test_bf16_trains_close_to_float32_and_keeps_float32_weights(tmp_path, batch):
    (_, exact), (model, half) = (trained(tmp_path, batch, precision=name) for name in ("fp32", "bf16"))
    assert exact != half  # convolutions did run in bf16
    assert half == pytest.approx(exact, rel=0.03)
    assert all(p.dtype == torch.float32 for p in model.net_g.parameters())
    assert model.output.dtype == torch.float32


SHAPE = (1, 3, 8, 8)


@pytest.fixture
def measured(monkeypatch):
    """Sets what layers take: seconds in fp32, fp32 channels_last, bf16, bf16 channels_last."""

    def set_times(*seconds):
        keys = [("fp32", False), ("fp32", True), ("bf16", False), ("bf16", True)]
        monkeypatch.setattr(precision_module, "layer_times", lambda conv, device: dict(zip(keys, seconds)))

    return set_times


@pytest.mark.parametrize(("ratio", "warnings"), [(12.0, 1), (0.4, 0)])
def test_a_processor_without_bf16_is_told(monkeypatch, measured, ratio, warnings):
    said, net = [], torch.nn.Conv2d(3, 4, 3)
    measured(1.0, 1.0, ratio, ratio)
    monkeypatch.setattr(precision_module.get_root_logger(), "warning", said.append)
    Precision({"precision": "bf16"}, "cpu").settle(net, SHAPE)
    Precision({"precision": "fp32"}, "cpu").settle(net, SHAPE)
    wanted = "train.precision: bf16 takes 12.0 times as long as fp32 on this CPU; use --force_yml train:precision=fp32"
    assert said == [wanted] * warnings


@pytest.mark.parametrize(
    ("asked", "seconds", "found"),
    [
        (("auto", "auto"), (3, 4, 2, 1), ("bf16", True)),
        (("auto", "auto"), (1, 2, 12, 11), ("fp32", False)),
        (("auto", False), (3, 1, 2, 1), ("bf16", False)),
        (("fp32", "auto"), (3, 2, 1, 1), ("fp32", True)),
        (("bf16", "auto"), (1, 1, 2, 3), ("bf16", False)),
        (("fp32", True), (1, 2, 3, 4), ("fp32", True)),
    ],
)
def test_auto_is_the_fastest_for_the_networks_own_layer(measured, asked, seconds, found):
    measured(*seconds)
    precision = Precision(dict(zip(("precision", "channels_last"), asked)), "cpu")
    precision.settle(torch.nn.Conv2d(3, 4, 3), SHAPE)
    assert precision.settled == dict(zip(("precision", "channels_last"), found))
    assert precision.dtype == (torch.bfloat16 if found[0] == "bf16" else None)
    assert precision.layout == (torch.channels_last if found[1] else torch.contiguous_format)


def test_a_continued_run_keeps_what_was_found(tmp_path, batch, measured):
    """However the machine has changed: through the state, with the trainer's own way of telling and without."""
    measured(4, 3, 2, 1)
    torch.manual_seed(0)
    opt = options(tmp_path, precision="auto", channels_last="auto")
    model = build_model(opt)
    train(model, batch, 2)
    model.save(0, 2)
    torch.manual_seed(1)
    expected = train(model, batch, 1)
    state = torch.load(tmp_path / "2.state", weights_only=True)
    assert state["precision"] == {"precision": "bf16", "channels_last": True}
    measured(1, 2, 12, 12)
    for told in ({}, {"resume": {"precision": state["precision"]}}):
        paths = {**opt["path"], "pretrain_network_g": str(tmp_path / "net_g_2.pth")}
        again = build_model({**options(tmp_path, precision="auto", channels_last="auto"), "path": paths, **told})
        again.resume_training(state)
        assert again.precision.settled == state["precision"]
        weights = [p for p in again.net_g.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
        torch.manual_seed(1)
        assert train(again, batch, 1) == expected


def test_timing_leaves_the_random_numbers_alone():
    net, before = torch.nn.Conv2d(3, 4, 3), torch.get_rng_state()
    conv = Convolution((1, 8, 16, 16), 8, (3, 3), (1, 1), (1, 1), 1)
    assert all(value > 0 for value in layer_times.__wrapped__(conv, "cpu").values())
    assert ceiling(net, SHAPE, "cpu", torch.float32, torch.contiguous_format) > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "scale"), [(name, max(NETWORKS[name].scales)) for name in list_networks()])
def test_the_convolutions_of_every_network_are_found(name, scale):
    """As many multiply-accumulates as torch counts, within what other layers do."""
    net = create_network(name, scale, **SMALL.get(name, {}))
    shape = (1, 3, 128 // scale, 128 // scale)
    found = convolutions(net, shape)
    if name == "Bicubic":
        assert not found
        assert heaviest(net, shape) is None
        return
    macs = sum(conv.macs * times for conv, times in found.items())
    assert 0 < macs <= cost(name, scale, **SMALL.get(name, {})).macs
    assert heaviest(net, shape).macs > 0
    assert next(net.parameters()).device.type == "cpu"  # the network itself is where it was


@pytest.mark.parametrize(
    ("shape", "options"),
    [((4, 8, 20, 24), {}), ((1, 8, 21, 9), {"stride": 2}), ((2, 8, 12, 12), {"groups": 4, "padding": 0})],
)
def test_multiply_accumulates_and_parts_of_a_convolution(shape, options):
    net = torch.nn.Conv2d(8, 16, 3, **{"padding": 1, **options})
    (conv,) = convolutions(net, shape)
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(shape))
    assert conv.macs == counter.get_total_flops() / 2
    for share in (0.9, 0.3, 0.05):
        part = conv.at_most(share * conv.macs)
        assert part.macs <= max(share, 3 / shape[2] / shape[0]) * conv.macs * 1.5
        assert part.shape[1] == shape[1]
        assert part.shape[3] == shape[3]
        assert seconds(part, "cpu", torch.float32, torch.contiguous_format, 1) > 0


def test_channels_last_changes_the_layout_not_the_result(tmp_path, batch):
    (_, plain), (model, laid_out) = (trained(tmp_path, batch, channels_last=value) for value in (False, True))
    assert laid_out == pytest.approx(plain, rel=1e-4)
    weights = [p for p in model.net_g.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_gradients_are_clipped_to_their_norm():
    parameter = torch.nn.Parameter(torch.zeros(4))
    precision = Precision({"grad_clip": 0.5}, "cpu")
    optimizer = torch.optim.SGD([parameter], lr=1)
    precision.backward((parameter * torch.tensor([3.0, 4.0, 0.0, 0.0])).sum())
    precision.step(optimizer)
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.3, -0.4, 0.0, 0.0]))


def test_compiled_networks_are_compiled_once(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net: compiled.append(net) or net)
    precision, net = Precision({"compile": True}, "cpu"), torch.nn.Conv2d(3, 3, 1)
    for _ in range(3):
        precision.run(net, torch.rand(1, 3, 4, 4))
    assert compiled == [net]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"precision": "bf61"}, "train.precision: 'bf61' is none; did you mean 'bf16'"),
        ({"channels_last": "yes"}, "train.channels_last must be true, false or auto, not 'yes'"),
        ({"grad_clip": 0}, "train.grad_clip must be a number above 0, not 0"),
    ],
)
def test_wrong_settings_are_one_line(setting, said):
    with pytest.raises(UsageError) as error:
        Precision(setting, "cpu")
    assert said in str(error.value)


def broken(batch: dict) -> dict:
    return {**batch, "gt": batch["gt"] * float("nan")}


def test_a_loss_that_is_no_number_stops_the_run_naming_term_iteration_and_images(tmp_path, batch):
    with pytest.raises(WNetError, match=r"iteration 1: not a finite number: l_pix.* \(images a.png, b.png\)"):
        trained(tmp_path, broken(batch), 1)


def test_or_its_step_is_left_out(tmp_path, batch):
    model, _ = trained(tmp_path, batch, 1, nonfinite="skip")
    before = [p.clone() for p in model.net_g.parameters()]
    model.feed_data(broken(batch))
    model.optimize_parameters(2)
    assert all(torch.equal(p, q) for p, q in zip(model.net_g.parameters(), before))
    model.feed_data(batch)
    model.optimize_parameters(3)
    assert not all(torch.equal(p, q) for p, q in zip(model.net_g.parameters(), before))


def test_a_step_that_is_left_out_leaves_statistics_and_average_as_they_were(tmp_path, batch):
    """An input that is no number poisons BatchNorm's statistics in the forward pass, before any loss is known."""
    model, _ = trained(tmp_path, batch, 1, nonfinite="skip", ema_decay=0.5)
    for net in (model.net_g, model.net_g_ema):
        net.register_module("norm", torch.nn.BatchNorm2d(3))
    model.average = averaging.MovingAverage(model.net_g_ema, model.net_g)
    model.net_g.register_forward_pre_hook(lambda net, inputs: (net.norm(inputs[0]),))
    nets = {name: getattr(model, name) for name in ("net_g", "net_g_ema")}
    before = {name: {key: value.clone() for key, value in net.state_dict().items()} for name, net in nets.items()}
    model.feed_data({**batch, "lq": batch["lq"] * float("nan")})
    model.optimize_parameters(2)
    for name, net in nets.items():
        assert all(torch.equal(value, before[name][key]) for key, value in net.state_dict().items())
    model.feed_data(batch)
    model.optimize_parameters(3)
    assert not torch.equal(model.net_g.norm.running_mean, before["net_g"]["norm.running_mean"])


def test_a_discriminator_does_not_learn_from_what_a_generator_spoils(tmp_path, batch):
    torch.manual_seed(0)
    opt = gan_options(tmp_path)
    opt["train"]["nonfinite"] = "skip"
    model, batch = build_model(opt), {**batch, "lq": torch.rand(2, 3, 16, 16)}
    before = {key: value.clone() for key, value in model.net_d.state_dict().items()}
    model.feed_data({**batch, "lq": batch["lq"] * float("nan")})
    model.optimize_parameters(1)
    assert all(torch.equal(value, before[key]) for key, value in model.net_d.state_dict().items())
    model.feed_data(batch)
    model.optimize_parameters(2)
    assert not all(torch.equal(value, before[key]) for key, value in model.net_d.state_dict().items())


def test_adversarial_training_is_guarded_alike(tmp_path, batch):
    torch.manual_seed(0)
    model = build_model(gan_options(tmp_path))
    batch = {**batch, "lq": torch.rand(2, 3, 16, 16)}  # x4
    with pytest.raises(WNetError, match=r"iteration 1: not a finite number: l_g_pix"):
        train(model, broken(batch), 1)
