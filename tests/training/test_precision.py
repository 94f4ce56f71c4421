"""Number formats, memory layout, compilation, clipping; and what happens when a loss is not a number."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from tests.models.test_gan_models import gan_options
from tests.models.test_models import options, train
from wnet_arch.errors import UsageError, WNetError
from wnet_arch.training import precision as precision_module
from wnet_arch.training.precision import Precision, bf16_time


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


@pytest.mark.parametrize(("ratio", "warnings"), [(12.0, 1), (0.4, 0)])
def test_a_processor_without_bf16_is_told(monkeypatch, ratio, warnings):
    said = []
    monkeypatch.setattr(precision_module, "bf16_time", lambda device: ratio)
    monkeypatch.setattr(precision_module.get_root_logger(), "warning", said.append)
    Precision({"precision": "bf16"}, "cpu")
    Precision({"precision": "fp32"}, "cpu")
    wanted = "train.precision: bf16 takes 12.0 times as long as fp32 on this CPU; use --force_yml train:precision=fp32"
    assert said == [wanted] * warnings


def test_timing_bf16_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    assert bf16_time.__wrapped__("cpu") > 0
    assert torch.equal(torch.get_rng_state(), before)


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
        ({"channels_last": "yes"}, "train.channels_last must be true or false, not 'yes'"),
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
    with pytest.raises(WNetError, match=r"iteration 1: l_pix .*is not a finite number \(images a.png, b.png\)"):
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


def test_adversarial_training_is_guarded_alike(tmp_path, batch):
    torch.manual_seed(0)
    model = build_model(gan_options(tmp_path))
    batch = {**batch, "lq": torch.rand(2, 3, 16, 16)}  # x4
    with pytest.raises(WNetError, match=r"iteration 1: l_g_pix .*is not a finite number"):
        train(model, broken(batch), 1)
