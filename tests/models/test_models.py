"""FaceSRModel and WNetModel through the framework: training, averaging, validation, saving, loading."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model

from wnet_arch import create_network
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.training import continuation
from wnet_arch.training.averaging import decay_at
from wnet_arch.weights.checkpoint import load_into, read_state_dict

PSNR = {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": True, "better": "higher"}


def options(tmp_path, model_type="WNetModel", **train) -> dict:
    train = {
        "optim_g": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5},
        "total_iter": 10,
        **train,
    }
    if model_type == "WNetModel":
        train.setdefault("wnet_opt", {"type": "WNetLoss", "vgg": None})
    else:
        train.setdefault("pixel_opt", {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"})
    return {
        "name": "test", "model_type": model_type, "scale": 8, "num_gpu": 0, "dist": False, "is_train": True, "rank": 0,
        "world_size": 1, "manual_seed": 0,
        "network_g": {"type": "WNet", "scale": 8, "num_feat": 8, "peak": 1},
        "path": {"models": str(tmp_path), "training_states": str(tmp_path), "visualization": str(tmp_path / "pictures")},
        "train": train, "val": {"val_freq": 5, "save_img": False, "metrics": {"psnr": PSNR}},
    }  # fmt: skip


@pytest.fixture
def data(face_set):
    return build_dataset({"name": "val", "type": "PairedFaceParsingDataset", "phase": "val", "scale": 8, "dataroot": str(face_set)})


@pytest.fixture
def batch(data):
    return torch.utils.data.default_collate([data[i] for i in range(4)])


def train(model, batch, steps: int) -> list[float]:
    losses = []
    for step in range(1, steps + 1):
        model.update_learning_rate(step, warmup_iter=-1)
        model.feed_data(batch)
        model.optimize_parameters(step)
        losses.append(sum(model.get_current_log().values()))
    return losses


def test_what_is_not_strict_says_what_it_left_out_and_refuses_what_has_nothing_in_common(tmp_path):
    state = create_network("SRCNN", 8).state_dict()
    name, *others = state
    torch.save({"params": {key: state[key] for key in others}}, tmp_path / "most.pth")
    torch.save({"params": {f"generator.{key}": value for key, value in state.items()}}, tmp_path / "none.pth")
    assert load_into(create_network("SRCNN", 8), str(tmp_path / "most.pth"), strict=False) == [name]
    with pytest.raises(WeightsError, match=r"none\.pth holds nothing of SRCNN"):
        load_into(create_network("SRCNN", 8), str(tmp_path / "none.pth"), strict=False)


@pytest.mark.parametrize("model_type", ["WNetModel", "FaceSRModel"])
def test_training_lowers_the_loss_and_logs_every_term(tmp_path, batch, model_type):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, model_type))
    losses = train(model, batch, 12)
    # W-Net starts from the bicubic image: the parsing map has far to go, the image has not.
    assert losses[-1] < (0.7 if model_type == "WNetModel" else 0.99) * losses[0]
    terms = {"l_pix", "l_parsing", *(f"l_{c}_pix" for c in ("eyes", "brows", "nose", "mouth"))}
    assert set(model.get_current_log()) == (terms if model_type == "WNetModel" else {"l_pix"})


@pytest.mark.parametrize(("warmup", "decays"), [(False, [0.9] * 4), (True, [2 / 11, 3 / 12, 4 / 13, 5 / 14])])
def test_a_warm_average_forgets_the_start_sooner(tmp_path, batch, warmup, decays):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, ema_decay=0.9, ema_warmup=warmup))
    expected = next(model.net_g.parameters()).detach().clone()
    for step, decay in enumerate(decays, start=1):
        model.feed_data(batch)
        model.optimize_parameters(step)
        expected = decay * expected + (1 - decay) * next(model.net_g.parameters()).detach()
    torch.testing.assert_close(next(model.net_g_ema.parameters()), expected, rtol=1e-6, atol=1e-7)


def test_a_warm_average_ends_at_its_own_decay():
    train = {"ema_decay": 0.999, "ema_warmup": True}
    assert decay_at(1000, train) == 1001 / 1010 < decay_at(8000, train) < decay_at(10_000, train) == 0.999
    assert decay_at(10_000, {"ema_warmup": True}) == 0


def test_average_follows_parameters_and_batchnorm_statistics(tmp_path, batch):
    model = build_model(options(tmp_path, ema_decay=0.5))
    start = copy.deepcopy(dict(model.net_g.named_parameters()))
    begin = copy.deepcopy(dict(model.net_g_ema.named_buffers()))
    train(model, batch, 1)
    average, net = dict(model.net_g_ema.named_parameters()), dict(model.net_g.named_parameters())
    for name, value in average.items():
        torch.testing.assert_close(value, 0.5 * start[name] + 0.5 * net[name])
    buffers = dict(model.net_g.named_buffers())
    assert any("running_mean" in name and value.abs().max() > 0 for name, value in buffers.items())
    for name, value in model.net_g_ema.named_buffers():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.5 * begin[name] + 0.5 * buffers[name])
        else:
            assert torch.equal(value, buffers[name]), name


def test_an_average_of_many_steps_predicts_with_statistics_of_its_own(tmp_path, batch):
    """Long behind a network that has stopped, the average is that network, statistics and all."""
    model = build_model(options(tmp_path, ema_decay=0.5))
    train(model, batch, 3)
    for _ in range(60):
        model.model_ema(0.5)
    for one, other in zip(model.net_g_ema.state_dict().values(), model.net_g.state_dict().values()):
        torch.testing.assert_close(one, other)


def test_validation_uses_the_average_and_returns_to_training(tmp_path, data, batch):
    model = build_model(options(tmp_path, ema_decay=0.9))
    train(model, batch, 2)
    loader = build_dataloader(data, {"phase": "val"}, num_gpu=0)
    model.validation(loader, 2, None, save_img=True)
    assert model.net_g.training
    assert not model.net_g_ema.training
    assert 0 < model.metric_results["psnr"] < 60
    assert (tmp_path / "pictures" / "face000" / "face000_2.png").exists()
    with torch.no_grad():
        expected = model.net_g_ema(batch["lq"])
    model.feed_data(batch)
    model.test()
    assert torch.equal(model.output, expected)
    assert model.get_current_visuals()["parsing"].shape == (4, 3, 64, 64)


def test_options_are_left_as_they_were(tmp_path, batch):
    opt = options(tmp_path)
    before = copy.deepcopy(opt)
    build_model(opt)
    assert opt == before


def test_saved_weights_load_again_and_give_the_same_image(tmp_path, batch):
    model = build_model(options(tmp_path, ema_decay=0.9))
    train(model, batch, 2)
    model.save(epoch=0, current_iter=2)
    again = options(tmp_path, ema_decay=0.9)
    again["path"]["pretrain_network_g"] = str(tmp_path / "net_g_2.pth")
    loaded = build_model(again)
    for ours, theirs in ((model.net_g, loaded.net_g), (model.net_g_ema, loaded.net_g_ema)):
        for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values()):
            assert torch.equal(a, b), name


def test_safetensors_load(tmp_path):
    from safetensors.torch import save_file

    net = create_network("WNet", 8, num_feat=8, peak=1)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    other = create_network("WNet", 8, num_feat=8, peak=1)
    load_into(other, str(tmp_path / "net.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values()))


def test_weights_of_another_configuration_are_refused_and_nothing_is_loaded(tmp_path):
    torch.save({"params": create_network("WNet", 8, num_feat=16, peak=1).state_dict()}, tmp_path / "wide.pth")
    net = create_network("WNet", 8, num_feat=8, peak=1)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(WeightsError) as error:
        load_into(net, str(tmp_path / "wide.pth"))
    assert "another configuration of WNet" in str(error.value)
    assert "[16, 3, 3, 3] in the file, [8, 3, 3, 3] in the network" in str(error.value)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values()))


def test_code_in_a_weights_file_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"params": {"weight": Trap()}}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="not a readable weights file"):
        read_state_dict(str(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("train_options", "said"),
    [
        ({"optim_g": {"type": "Adma", "lr": 1e-3}}, "no optimizer is called 'Adma'; did you mean .*'Adam'"),
        ({"wnet_opt": None}, "wnet_opt"),
    ],
)
def test_wrong_training_options_are_named(tmp_path, train_options, said):
    with pytest.raises(UsageError, match=said):
        build_model(options(tmp_path, **train_options))


def test_any_optimizer_of_torch_can_be_named(tmp_path, batch):
    model = build_model(options(tmp_path, optim_g={"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01}))
    assert isinstance(model.optimizers[0], torch.optim.AdamW)
    train(model, batch, 1)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 1, 1), None])
def test_images_of_another_shape_end_the_training_where_a_loss_would_stretch_them(tmp_path, batch, shape):
    model = build_model(options(tmp_path, "FaceSRModel"))
    before = {name: value.clone() for name, value in model.net_g.state_dict().items()}
    model.net_g.forward = lambda lq, **_: lq.new_zeros(len(lq), *shape).requires_grad_() if shape else [lq]
    said = f"gave images {(4, *shape)} for an LR batch (4, 3, 8, 8), and the HR" if shape else "gave no images for"
    with pytest.raises(UsageError, match=re.escape(f"network_g: WNet {said}")):
        train(model, batch, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.net_g.state_dict().items())


def test_batches_without_maps_are_named(tmp_path, batch):
    model = build_model(options(tmp_path))
    del batch["parsing"]
    with pytest.raises(UsageError, match="PairedFaceParsingDataset"):
        train(model, batch, 1)


def test_frozen_parts_stay_as_they_are_and_all_else_learns(tmp_path, batch):
    model = build_model(options(tmp_path, frozen=["trunk.parsing", "trunk.to_rgb.bias"], ema_decay=0.5))
    before = {name: value.clone() for name, value in model.net_g.named_parameters()}
    train(model, batch, 2)
    frozen = {name for name, value in model.net_g.named_parameters() if torch.equal(value, before[name])}
    assert frozen == {name for name in before if name.startswith("trunk.parsing.") or name == "trunk.to_rgb.bias"}
    average = dict(model.net_g_ema.named_parameters())
    assert all(torch.equal(average[name], before[name]) for name in frozen)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["trunk.prasing"], "train.frozen: WNet has no part 'trunk.prasing'; did you mean 'trunk.parsing'"),
        ("trunk.pars", "train.frozen: WNet has no part 'trunk.pars'; did you mean 'trunk.parsing'"),
        (["trunk"], "train.frozen: nothing of WNet would be left to train"),
    ],
)
def test_what_cannot_be_frozen_is_named(tmp_path, face_set, parts, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        build_model(options(tmp_path, frozen=parts))


@pytest.mark.parametrize("optimizer", [{"type": "SGD", "lr": 0.1}, {"type": "Muon", "lr": 2e-3}], ids=lambda o: o["type"])
def test_parts_learn_at_the_multiples_of_the_rate_that_they_are_given(tmp_path, batch, optimizer):
    def steps(**train_options):
        torch.manual_seed(0)
        model = build_model(options(tmp_path, optim_g=dict(optimizer), **train_options))
        before = {name: value.detach().clone() for name, value in model.net_g.named_parameters()}
        train(model, batch, 1)
        return {name: value.detach() - before[name] for name, value in model.net_g.named_parameters()}

    plain = steps()
    slow = steps(lr_mult={"trunk.parsing": 0.5, "trunk.parsing.residual": 3, "trunk.to_rgb.bias": 0.25})
    assert any(name.startswith("trunk.parsing.residual.") for name in plain)
    for name, step in plain.items():
        inner = 3 if name.startswith("trunk.parsing.residual.") else 0.5 if name.startswith("trunk.parsing.") else 1
        factor = 0.25 if name == "trunk.to_rgb.bias" else inner
        torch.testing.assert_close(slow[name], factor * step, rtol=1e-3, atol=1e-6)
    assert max(step.abs().max() for step in plain.values()) > 1e-4


def test_schedule_and_warm_up_keep_the_multiples_of_the_rate(tmp_path, batch):
    schedule = {"type": "MultiStepLR", "milestones": [3], "gamma": 0.1}
    model = build_model(options(tmp_path, lr_mult={"trunk.parsing": 0.5}, scheduler=schedule))
    rates = []
    for iteration in range(1, 6):
        model.update_learning_rate(iteration, warmup_iter=3)
        rates.append(model.get_current_learning_rate())
        train(model, batch, 1)
    assert all(pair == pytest.approx([pair[0], pair[0] / 2]) or pair == pytest.approx([pair[0], pair[0] * 2]) for pair in rates)
    assert rates[0][0] < rates[2][0] > rates[-1][0]


@pytest.mark.parametrize(
    ("milestones", "expected"), [([7], [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.1]), ([2], [0.25, 0.5, 0.75, 0.1, 0.1])]
)
def test_after_a_warm_up_the_rate_is_the_schedules(tmp_path, batch, milestones, expected):
    schedule = {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.1}

    def new():
        return build_model(options(tmp_path, scheduler=schedule, optim_g={"type": "Adam", "lr": 1.0}))

    model = new()
    for iteration, rate in enumerate(expected, start=1):
        model.update_learning_rate(iteration, warmup_iter=4)
        assert model.get_current_learning_rate() == pytest.approx([rate])
        if iteration == 3:  # saved in the middle, and continued without a warm-up
            state = copy.deepcopy(
                {"optimizers": [model.optimizers[0].state_dict()], "schedulers": [model.schedulers[0].state_dict()]}
            )
    continued = new()
    continuation.load_optimizers(continued.optimizers, continued.schedulers, state, [])
    continued.update_learning_rate(4, warmup_iter=-1)
    assert continued.get_current_learning_rate() == pytest.approx([expected[3]])


def test_a_continued_run_keeps_the_multiples_and_follows_another_rate(tmp_path, batch):
    def model(lr: float):
        torch.manual_seed(0)
        parts = {"trunk.parsing": 0.5}
        return build_model(options(tmp_path, optim_g={"type": "Muon", "lr": lr}, lr_mult=parts))

    whole, unchanged, changed = model(2e-3), model(2e-3), model(4e-3)
    train(whole, batch, 2)
    state = {"optimizers": [whole.optimizers[0].state_dict()], "schedulers": [whole.schedulers[0].state_dict()]}
    for other, keys in ((unchanged, []), (changed, ["train.optim_g.lr"])):
        other.net_g.load_state_dict(whole.net_g.state_dict())
        continuation.load_optimizers(other.optimizers, other.schedulers, copy.deepcopy(state), keys)
    assert sorted(changed.get_current_learning_rate()) == pytest.approx([5e-4, 1e-3, 2e-3, 4e-3])
    assert train(unchanged, batch, 2) == train(whole, batch, 2)


@pytest.mark.parametrize(
    ("train_options", "said"),
    [
        ({"lr_mult": {"trunk.prasing": 0.1}}, "train.lr_mult: WNet has no part 'trunk.prasing'; did you mean 'trunk.parsing'"),
        (
            {"lr_mult": {"trunk.parsing": 0.1}, "frozen": "trunk.parsing"},
            "train.lr_mult: 'trunk.parsing' does not learn, train.frozen has it; leave it out of one of the two",
        ),
    ],
)
def test_parts_that_can_have_no_rate_are_named(tmp_path, face_set, train_options, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        build_model(options(tmp_path, **train_options))


def test_the_true_map_takes_the_place_of_the_estimate(tmp_path, data, batch):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, true_parsing=True))
    before = {name: value.clone() for name, value in model.net_g.named_parameters()}
    train(model, batch, 2)
    unused = {name for name, value in model.net_g.named_parameters() if torch.equal(value, before[name])}
    assert unused == {name for name in before if name.startswith("trunk.parsing.")}
    model.feed_data(batch)
    model.test()
    skin = (batch["parsing"] == 1).float()[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        model.net_g.eval()
        assert torch.equal(model.output, model.net_g(batch["lq"], parsing=skin))
        assert not torch.equal(model.output, model.net_g(batch["lq"], parsing=1 - skin))
        assert torch.equal(model.parsing, skin)
    del batch["parsing"]
    model.feed_data(batch)
    with pytest.raises(UsageError, match="these samples have no 'parsing'"):
        model.test()


@pytest.mark.parametrize(("ramp", "shares"), [(4, [0.25, 0.5, 0.75, 1, 1]), (0, [1] * 5), (1, [1] * 5)])
def test_the_weight_of_the_map_rises_along_a_line(tmp_path, batch, ramp, shares):
    """Against the loss by itself, on what the network gives at each iteration, however the run came there."""
    torch.manual_seed(0)
    loss = {"type": "WNetLoss", "vgg": None, "parsing_weight": 0.3}
    model = build_model(options(tmp_path, wnet_opt=loss, parsing_ramp_iter=ramp))
    for iteration, share in enumerate(shares, start=1):
        model.feed_data(batch)
        with torch.no_grad():  # in training mode as in the step, whose batch decides the statistics
            out = copy.deepcopy(model.net_g)(batch["lq"], return_aux=True)
        wanted = model.cri_wnet(out.sr, out.parsing, batch["gt"], batch["parsing"])
        model.optimize_parameters(iteration)
        found = model.get_current_log()
        assert found["l_parsing"] == pytest.approx(share * float(wanted.pop("l_parsing")), rel=1e-5)
        assert all(found[name] == pytest.approx(float(term), rel=1e-5) for name, term in wanted.items())


def test_a_network_that_takes_no_map_is_named(tmp_path):
    opt = options(tmp_path, true_parsing=True)
    opt["network_g"] = {"type": "FishFSRNet", "scale": 8, "num_feat": 16}
    with pytest.raises(UsageError, match=r"train.true_parsing: FishFSRNet takes no map; use WNet or WNetLite"):
        build_model(opt)


@pytest.mark.parametrize("key", ["generator", None])
def test_an_average_begins_with_the_weights_that_the_network_begins_with(tmp_path, batch, key):
    start = create_network("WNet", 8, num_feat=8, peak=1).state_dict()
    torch.save({key: start} if key else start, tmp_path / "theirs.pth")
    opt = options(tmp_path, ema_decay=0.9)
    opt["path"].update(pretrain_network_g=str(tmp_path / "theirs.pth"), param_key_g=key)
    model = build_model(opt)
    for net in (model.net_g, model.net_g_ema):
        for name, value in net.state_dict().items():
            assert torch.equal(value, start[name])
