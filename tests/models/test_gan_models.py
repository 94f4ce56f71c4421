"""Discriminators, adversarial losses and FaceGANModel: what each term is, when it acts, and that a run can be continued."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from basicsr.archs import build_network
from basicsr.models import build_model

from wnet_arch import create_network, list_networks, options
from wnet_arch.errors import NetworkError, UsageError
from wnet_arch.faces.labels import COMPONENTS, SKIN
from wnet_arch.losses import NoisyLabelGANLoss, RelativisticHingeGANLoss

BASELINES = Path(__file__).parents[2] / "options" / "baselines"
NETWORKS_D = {"SRGANDiscriminator": 38_245_569, "WIPADiscriminator": 4_855_617, "MRRNetDiscriminator": 390_720}
MACS = {"SRGANDiscriminator": 1.57, "WIPADiscriminator": 0.42, "MRRNetDiscriminator": 0.06}

# --- discriminators ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS_D)
def test_discriminators_have_the_published_size_and_cost(name):
    from torch.utils.flop_counter import FlopCounterMode

    net = build_network({"type": name}).eval()
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == NETWORKS_D[name]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = net(torch.rand(1, 3, 128, 128))
    assert out.shape == ((1, 1, 8, 8) if name == "MRRNetDiscriminator" else (1, 1))
    assert counter.get_total_flops() / 2e9 == pytest.approx(MACS[name], abs=0.005)


def test_discriminators_are_no_super_resolution_networks():
    assert not set(NETWORKS_D) & set(list_networks())
    with pytest.raises(NetworkError):
        create_network("SRGANDiscriminator")


@pytest.mark.parametrize("name", NETWORKS_D)
def test_every_parameter_of_a_discriminator_learns(name):
    small = {"num_feat": 4, **({} if name == "MRRNetDiscriminator" else {"size": 64})}
    torch.manual_seed(0)
    net = build_network({"type": name, **small})
    net(torch.rand(4, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters() if p.numel() > 1)


def test_spectral_norm_bounds_every_convolution_but_the_last():
    torch.manual_seed(0)
    net = build_network({"type": "MRRNetDiscriminator", "num_feat": 4})
    for _ in range(40):
        net(torch.rand(1, 3, 32, 32))
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    largest = [torch.linalg.matrix_norm(c.weight.detach().flatten(1), 2).item() for c in convolutions]
    assert largest[:4] == pytest.approx([1] * 4, abs=0.05)
    assert largest[4] < 0.5  # N(0, 0.02), not normalised
    assert convolutions[4].bias is None


@pytest.mark.parametrize(
    ("options", "shape", "said"),
    [
        ({"type": "SRGANDiscriminator", "num_feat": 4, "size": 64}, (1, 3, 128, 128), r"\(B, 3, 64, 64\), not \(1, 3, 128"),
        ({"type": "WIPADiscriminator", "num_feat": 4, "size": 64}, (3, 64, 64), r"not \(3, 64, 64\)"),
        ({"type": "MRRNetDiscriminator", "num_feat": 4}, (1, 3, 16, 16), "at least 32x32"),
        ({"type": "SRGANDiscriminator", "size": 100}, None, "a multiple of 16 for size, not 100"),
        ({"type": "WIPADiscriminator", "num_feat": 0}, None, "a whole number above 0 for num_feat"),
    ],
)
def test_what_a_discriminator_cannot_take_is_named(options, shape, said):
    with pytest.raises(NetworkError, match=said):
        build_network(options)(torch.rand(shape))


# --- adversarial losses -----------------------------------------------------------------------------------------------


@pytest.fixture
def outputs():
    """The discriminator's numbers for four real and four super-resolved images, some beyond the hinge."""
    return torch.randn(2, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0)).mul(2).unbind()


def test_relativistic_hinge_is_what_its_formulas_say(outputs):
    real, fake = outputs
    loss = RelativisticHingeGANLoss(loss_weight=0.1)
    d_real, d_fake = real - fake.mean(), fake - real.mean()
    zero = torch.zeros(())
    for_real, for_fake = loss.discriminator(real, fake)
    torch.testing.assert_close(for_real, torch.maximum(zero, 1 - d_real).mean() / 2)
    torch.testing.assert_close(for_fake, torch.maximum(zero, 1 + d_fake).mean() / 2)
    expected = 0.1 * (torch.maximum(zero, 1 + d_real).mean() + torch.maximum(zero, 1 - d_fake).mean()) / 2
    torch.testing.assert_close(loss.generator(real, fake), expected)
    assert loss.discriminator(torch.tensor([3.0]), torch.tensor([-3.0])) == (0, 0)


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_noisy_labels_are_drawn_between_their_bounds(t):
    torch.manual_seed(0)
    loss = NoisyLabelGANLoss()
    loss.progress = t
    logits = torch.zeros(4000, 1)
    for real, low, high in ((True, 0.8 + 0.1 * t, 1.0), (False, 0.0, 0.2 - 0.1 * t)):
        labels = loss.labels(logits, real)
        assert low <= labels.min() < low + 0.002
        assert high - 0.002 < labels.max() <= high
    assert loss.labels(torch.zeros(2, 1, 4, 4), True).flatten(1).unique(dim=1).shape == (2, 1)


def test_noisy_label_loss_is_cross_entropy(outputs):
    logits = outputs[0]
    loss = NoisyLabelGANLoss(loss_weight=0.01)
    torch.testing.assert_close(loss(logits, True), 0.01 * F.softplus(-logits).mean())
    torch.manual_seed(3)
    value = loss(logits, False, is_disc=True)
    torch.manual_seed(3)
    label = 0.2 * torch.rand(4, 1, 1, 1)
    p = logits.sigmoid()
    torch.testing.assert_close(value, -(label * p.log() + (1 - label) * (1 - p).log()).mean())


# --- the model --------------------------------------------------------------------------------------------------------

SRGAN = {"gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.01}}
WIPA = {
    "gan_opt": {"type": "NoisyLabelGANLoss", "loss_weight": 0.01},
    "wavelet_opt": {"type": "WIPAWaveletLoss"},
    "pixel_opt": {"type": "MSELoss"},
}
MRRNET = {"gan_opt": {"type": "RelativisticHingeGANLoss", "loss_weight": 0.01}}
METHODS = {
    "SRGAN": ({"type": "SRResNet", "num_blocks": 1}, {"type": "SRGANDiscriminator", "size": 64, "num_hidden": 16}, SRGAN),
    "WIPA": ({"type": "WIPA"}, {"type": "WIPADiscriminator", "size": 64}, WIPA),
    "MRRNet": ({"type": "MRRNet", "num_blocks": 1}, {"type": "MRRNetDiscriminator"}, MRRNET),
}


def gan_options(folder, method="SRGAN", model_type="FaceGANModel", **train) -> dict:
    network_g, network_d, method_options = copy.deepcopy(METHODS[method])
    train = {
        "optim_g": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]},
        "optim_d": {"type": "Adam", "lr": 2e-3, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [3, 100], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        "total_iter": 10,
        **method_options,
        **train,
    }
    return {
        "name": "test", "model_type": model_type, "scale": 4, "num_gpu": 0, "dist": False, "is_train": True, "rank": 0,
        "world_size": 1, "manual_seed": 0,
        "network_g": {"scale": 4, "num_feat": 8, **network_g}, "network_d": {"num_feat": 8, **network_d},
        "path": {"models": str(folder), "training_states": str(folder), "visualization": str(folder)},
        "train": train, "val": {"val_freq": 5, "save_img": False},
    }  # fmt: skip


@pytest.fixture
def batch():
    gt = F.interpolate(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), 64, mode="bicubic").clamp(0, 1)
    gt = (gt + 0.1 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    return {"lq": F.avg_pool2d(gt, 4), "gt": gt}


def train(model, batch, steps, first=1) -> list[dict]:
    logs = []
    for step in range(first, first + steps):
        model.update_learning_rate(step, warmup_iter=-1)
        model.feed_data(batch)
        model.optimize_parameters(step)
        logs.append(model.get_current_log())
    return logs


def weights(net) -> dict:
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_both_networks_and_logs_every_term(tmp_path, batch, method):
    torch.manual_seed(0)
    model = build_model(gan_options(tmp_path, method))
    before = weights(model.net_g), weights(model.net_d)
    (log,) = train(model, batch, 1)
    terms = ["l_g_pix", *(["l_g_wavelet"] if method == "WIPA" else []), "l_g_gan"]
    assert list(log) == [*terms, "l_d_real", "l_d_fake", "out_d_real", "out_d_fake"]
    assert all(math.isfinite(value) for value in log.values())
    assert not equal(before[0], weights(model.net_g))
    assert not equal(before[1], weights(model.net_d))


@pytest.mark.parametrize("method", METHODS)
def test_the_discriminator_learns_to_tell_real_from_super_resolved(tmp_path, batch, method):
    torch.manual_seed(0)
    opt = gan_options(tmp_path, method, net_d_init_iters=100)  # the generator waits
    model = build_model(opt)
    before = weights(model.net_g)
    logs = train(model, batch, 25)
    first, last = (log["out_d_real"] - log["out_d_fake"] for log in (logs[0], logs[-1]))
    assert last > first + 0.5
    assert set(logs[0]) == {"l_d_real", "l_d_fake", "out_d_real", "out_d_fake"}
    trained = dict(model.net_g.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in trained.items())


def test_the_generator_learns_from_the_discriminator_but_does_not_change_it(tmp_path, batch):
    torch.manual_seed(0)
    model = build_model(gan_options(tmp_path, "MRRNet", start_iters={"net_d": 100}))
    before = {name: value.clone() for name, value in model.net_d.named_parameters()}
    with_gan = {name: value for name, value in train(model, batch, 1)[0].items() if name != "l_g_pix"}
    assert list(with_gan) == ["l_g_gan"]
    assert all(torch.equal(value, before[name]) for name, value in model.net_d.named_parameters())
    model.current_iter = 1
    model.feed_data(batch)
    model.net_g.zero_grad()
    model.compute_losses()
    model.generator_gan_loss().backward()
    assert all(p.grad is not None for p in model.net_g.parameters())


def test_the_generator_learns_every_so_many_iterations(tmp_path, batch):
    model = build_model(gan_options(tmp_path, net_d_iters=2, net_d_init_iters=2))
    logs = train(model, batch, 6)
    assert ["l_g_pix" in log for log in logs] == [False, False, False, True, False, True]
    assert all("l_d_real" in log for log in logs)


def test_wipa_starts_in_stages(tmp_path, batch):
    torch.manual_seed(0)
    model = build_model(gan_options(tmp_path, "WIPA", start_iters={"content": 2, "net_d": 3, "gan": 4}))
    untouched = weights(model.net_d)
    logs = train(model, batch, 2)
    assert [list(log) for log in logs] == [["l_g_pix"], ["l_g_pix", "l_g_wavelet"]]
    assert equal(untouched, weights(model.net_d))
    logs = train(model, batch, 2, first=3)
    discriminator = ["l_d_real", "l_d_fake", "out_d_real", "out_d_fake"]
    assert list(logs[0]) == ["l_g_pix", "l_g_wavelet", *discriminator]
    assert list(logs[1]) == ["l_g_pix", "l_g_wavelet", "l_g_gan", *discriminator]
    assert model.cri_gan.progress == pytest.approx(0.4)


def test_perceptual_and_identity_losses_are_terms_of_the_generator(tmp_path, batch, vgg_file):
    perceptual = {"type": "VGGPerceptualLoss", "vgg": vgg_file, "layer_weights": {"conv2_2": 1.0}}
    model = build_model(gan_options(tmp_path, pixel_opt=None, perceptual_opt=perceptual))
    model.cri_identity = lambda sr, gt: (sr - gt).square().mean()  # stands for the network, whose weights are not here
    (log,) = train(model, batch, 1)
    assert list(log)[:3] == ["l_g_percep", "l_g_identity", "l_g_gan"]


def test_the_discriminator_may_have_a_schedule_of_its_own(tmp_path, batch):
    model = build_model(gan_options(tmp_path))
    train(model, batch, 5)
    assert model.get_current_learning_rate() == [5e-4]
    assert [group["lr"] for o in model.optimizers for group in o.param_groups] == [5e-4, 1e-3]
    constant = {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5}
    model = build_model(gan_options(tmp_path, scheduler_d=constant))
    train(model, batch, 5)
    assert [group["lr"] for o in model.optimizers for group in o.param_groups] == [5e-4, 2e-3]


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_network_that_starts_late_keeps_its_schedule_and_nobody_warns(tmp_path, batch):
    rates = []
    for start in (1, 4):
        model = build_model(gan_options(tmp_path, start_iters={"net_d": start, "gan": start}))
        train(model, batch, 5)
        rates.append([group["lr"] for o in model.optimizers for group in o.param_groups])
    assert rates == [[5e-4, 1e-3]] * 2


def same_optimizer(a, b) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a["param_groups"] == b["param_groups"] and all(equal(a["state"][k], b["state"][k]) for k in a["state"])


@pytest.mark.parametrize("method", METHODS)
def test_a_run_continues_where_it_was_saved(tmp_path, batch, method):
    opt = gan_options(tmp_path, method, ema_decay=0.9)
    torch.manual_seed(0)
    model = build_model(opt)
    train(model, batch, 2)
    model.save(epoch=0, current_iter=2)
    state = torch.load(tmp_path / "2.state", weights_only=True)
    opt["path"].update({f"pretrain_network_{net}": str(tmp_path / f"net_{net}_2.pth") for net in "gd"})
    again = build_model(opt)
    again.resume_training(state)
    for net in ("net_g", "net_d", "net_g_ema"):
        assert equal(weights(getattr(model, net)), weights(getattr(again, net))), net
    assert same_optimizer(model.optimizer_g, again.optimizer_g)
    assert same_optimizer(model.optimizer_d, again.optimizer_d)
    logs = []
    for run in (model, again):
        torch.manual_seed(5)  # noisy labels
        logs.append(train(run, batch, 1, first=3))
    assert logs[0] == logs[1]
    assert equal(weights(model.net_g), weights(again.net_g))
    assert equal(weights(model.net_d), weights(again.net_d))
    assert [s.state_dict() for s in model.schedulers] == [s.state_dict() for s in again.schedulers]


def test_average_takes_batchnorm_statistics_along(tmp_path, batch):
    model = build_model(gan_options(tmp_path, ema_decay=0.5))
    begin = {name: value.clone() for name, value in model.net_g_ema.named_buffers()}
    train(model, batch, 1)
    buffers = dict(model.net_g.named_buffers())
    assert buffers
    for name, value in model.net_g_ema.named_buffers():
        expected = 0.5 * begin[name] + 0.5 * buffers[name] if value.is_floating_point() else buffers[name]
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("model_type", ["FaceGANModel", "SRGANModel"])
def test_the_frameworks_own_model_runs_the_same_options(tmp_path, batch, vgg_file, model_type):
    perceptual = {"type": "VGGPerceptualLoss", "vgg": vgg_file, "layer_weights": {"conv2_2": 1.0}, "criterion": "l2"}
    torch.manual_seed(0)
    model = build_model(gan_options(tmp_path, model_type=model_type, perceptual_opt=perceptual))
    logs = train(model, batch, 2)
    assert set(logs[0]) == {"l_g_pix", "l_g_percep", "l_g_gan", "l_d_real", "l_d_fake", "out_d_real", "out_d_fake"}
    model.test()
    assert model.output.shape == (4, 3, 64, 64)
    model.save(epoch=0, current_iter=2)
    assert {p.name for p in tmp_path.iterdir()} == {"net_g_2.pth", "net_d_2.pth", "2.state"}


def test_both_models_do_the_same_with_the_same_options(tmp_path, batch):
    logs, nets = [], []
    for model_type in ("FaceGANModel", "SRGANModel"):
        torch.manual_seed(0)
        model = build_model(gan_options(tmp_path, model_type=model_type))
        nets.append((weights(model.net_g), weights(model.net_d)))
        logs.append(train(model, batch, 3))
    assert all(equal(ours, theirs) for ours, theirs in zip(*nets))
    for ours, theirs in zip(*logs):
        assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gan_opt": None}, "train.gan_opt is missing"),
        ({"optim_d": None}, "train.optim_d is missing"),
        ({"start_iters": {"disc": 3}}, "train.start_iters.disc is not a part of the training.*net_d"),
        ({"start_iters": {"gan": "late"}}, "train.start_iters.gan must be int, not 'late'"),
        ({"start_iters": {"content": 3}, "pixel_opt": None}, "there is only pixel_opt to train with"),
        ({"net_d_iters": 0}, "train.net_d_iters must be a whole number above 0"),
        ({"optim_d": {"type": "Adma", "lr": 1e-3}}, "no optimizer is called 'Adma'"),
    ],
)
def test_wrong_training_options_are_named(tmp_path, changes, said):
    with pytest.raises(UsageError, match=said):
        build_model(gan_options(tmp_path, **changes))


def test_networks_without_wavelets_are_named(tmp_path, batch):
    model = build_model(gan_options(tmp_path, wavelet_opt={"type": "WIPAWaveletLoss"}))
    with pytest.raises(UsageError, match="predicts no wavelet coefficients"):
        train(model, batch, 1)


# --- W-Net ------------------------------------------------------------------------------------------------------------


def wnet_gan_options(folder, vgg_file, **train) -> dict:
    loss = {"type": "WNetLoss", "vgg": vgg_file, "layer_weights": {"conv2_2": 1e-3}, "masked": "features", "image_weight": 1.0}
    opt = gan_options(folder, "MRRNet", "WNetGANModel", **{"pixel_opt": None, "wnet_opt": loss, **train})
    opt["network_g"] = {"type": "WNetLite", "scale": 4, "num_feat": 16, "depths": [1, 1, 1, 1]}
    return opt


@pytest.fixture
def labelled(batch):
    label = torch.full((4, 64, 64), SKIN, dtype=torch.uint8)
    label[:, 20:24, 16:28] = COMPONENTS["eyes"][0]
    return {**batch, "parsing": label}


def test_wnet_trains_against_a_discriminator_with_all_of_its_terms(tmp_path, labelled, vgg_file):
    torch.manual_seed(0)
    model = build_model(wnet_gan_options(tmp_path, vgg_file, frozen=["trunk.body"], ema_decay=0.5))
    before = weights(model.net_g), weights(model.net_d)
    (log,) = train(model, labelled, 1)
    parts = [f"l_g_{name}_{kind}" for kind in ("pix", "per") for name in COMPONENTS]
    discriminator = ["l_d_real", "l_d_fake", "out_d_real", "out_d_fake"]
    assert list(log) == ["l_g_pix", "l_g_parsing", *parts, "l_g_per", "l_g_gan", *discriminator]
    assert log["l_g_eyes_per"] > 0 == log["l_g_nose_per"]
    changed = {name for name, value in model.net_g.state_dict().items() if not torch.equal(value, before[0][name])}
    assert changed
    assert not any(name.startswith("trunk.body.") for name in changed)
    assert not equal(before[1], weights(model.net_d))
    model.feed_data(labelled)
    model.test()
    assert model.get_current_visuals()["parsing"].shape == (4, 3, 64, 64)


def test_wnet_against_a_discriminator_continues_where_it_was_saved(tmp_path, labelled, vgg_file):
    opt = wnet_gan_options(tmp_path, vgg_file, start_iters={"gan": 2})
    torch.manual_seed(0)
    model = build_model(opt)
    assert "l_g_gan" not in train(model, labelled, 1)[0]
    train(model, labelled, 1, first=2)
    model.save(epoch=0, current_iter=2)
    train(model, labelled, 2, first=3)
    resumed = copy.deepcopy(opt)
    resumed["path"].update(pretrain_network_g=str(tmp_path / "net_g_2.pth"), pretrain_network_d=str(tmp_path / "net_d_2.pth"))
    again = build_model(resumed)
    again.resume_training(torch.load(tmp_path / "2.state", weights_only=True))
    train(again, labelled, 2, first=3)
    assert equal(weights(model.net_g), weights(again.net_g))
    assert equal(weights(model.net_d), weights(again.net_d))


def test_the_discriminator_sees_crops_and_the_loss_the_whole_face(tmp_path, labelled, vgg_file):
    torch.manual_seed(0)
    model = build_model(wnet_gan_options(tmp_path, vgg_file, gan_shift=16))
    sizes = []
    model.net_d.register_forward_pre_hook(lambda net, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
    train(model, labelled, 1)
    assert set(sizes) == {(48, 48)}
    assert model.output.shape[-2:] == (64, 64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"wnet_opt": None}, "train.wnet_opt is missing from the options: WNetModel needs it"),
        ({"gan_opt": None}, "train.gan_opt is missing from the options"),
        ({"start_iters": {"content": 5}}, "before it there is only pixel_opt to train with"),
    ],
)
def test_what_wnet_lacks_against_a_discriminator_is_named(tmp_path, vgg_file, changes, said):
    with pytest.raises(UsageError, match=said):
        build_model(wnet_gan_options(tmp_path, vgg_file, **changes))


@pytest.mark.parametrize("name", ["wnet_lite_sharp_x8", "wnet_lite_key_x8"])
def test_option_files_of_variants_are_fine(name, face_set, vgg_file):
    opt = options.load(str(BASELINES.parent / f"{name}.yml"))
    for phase in ("train", "val"):
        opt["datasets"][phase]["dataroot"] = str(face_set)
    opt["train"]["wnet_opt"]["vgg"] = vgg_file
    options.check(opt, is_train=True)
    plain = options.load(str(BASELINES.parent / "wnet_lite_x8.yml"))
    for key in ("scale", "manual_seed", "network_g", "val", "logger"):
        assert opt[key] == plain[key], key


# --- option files -----------------------------------------------------------------------------------------------------


def checked(name: str, face_set, vgg_file) -> dict:
    """Options of a file with this set and the random VGG; the published widths, so that building costs a second."""
    opt = options.load(str(BASELINES / f"{name}.yml"))
    for phase in ("train", "val"):
        opt["datasets"][phase]["dataroot"] = str(face_set)
    opt["train"]["perceptual_opt"]["vgg"] = vgg_file
    return opt


FILES = [f"{name}_x{scale}" for name in METHODS for scale in (4, 8)]


@pytest.mark.parametrize("name", FILES)
def test_option_files_are_fine_and_differ_from_wnets_only_in_the_method(name, face_set, vgg_file):
    opt = checked(name, face_set, vgg_file)
    options.check(opt, is_train=True)
    scale = opt["scale"]
    assert opt["name"] == name
    assert opt["model_type"] == "FaceGANModel"
    ours = options.load(str(BASELINES / f"{name}.yml"))
    wnet = options.load(str(BASELINES.parent / f"wnet_x{scale}.yml"))
    for key in ("scale", "manual_seed", "datasets", "val", "logger"):
        assert ours[key] == wnet[key], key
    for key in ("ema_decay", "total_iter", "warmup_iter"):
        assert ours["train"].get(key) == wnet["train"].get(key), key


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("network_d.num_feats", 8, "network_d.num_feats: SRGANDiscriminator has no such option; did you mean 'num_feat'"),
        ("network_d.size", 100, "network_d: SRGANDiscriminator takes a multiple of 16"),
        ("network_d.type", "SRGANDiscriminater", "network_d.type: 'SRGANDiscriminater' is not registered"),
        ("network_d.type", None, "network_d.type is missing"),
        ("network_d", {"type": "SPARNet"}, "network_d: SPARNet super-resolves; a discriminator is wanted"),
        ("network_d", None, "network_d is missing"),
        ("path.pretrain_network_d", "gone.pth", "path.pretrain_network_d: there is no file gone.pth"),
        ("train.optim_d", None, "train.optim_d is missing"),
        ("train.optim_d.lr", "fast", "train.optim_d.lr must be a number above 0, not 'fast'"),
        ("train.optim_d.type", "Adma", "train.optim_d.type: no optimizer is called 'Adma'; did you mean"),
        ("train.gan_opt.gan_tpye", "hinge", "train.gan_opt.gan_tpye: GANLoss has no such option; did you mean 'gan_type'"),
        ("train.gan_opt.gan_type", "none", "train.gan_opt: GANLoss cannot be built"),
        ("train.perceptual_opt.criterion", "l3", "train.perceptual_opt: VGGPerceptualLoss: criterion"),
        ("train.start_iters", {"gna": 2}, "train.start_iters.gna is not an option; did you mean 'gan'"),
    ],
)
def test_broken_options_are_named(key, value, said, face_set, vgg_file):
    opt = checked("SRGAN_x8", face_set, vgg_file)
    if (key, value) == ("network_d", None):
        with pytest.raises(UsageError, match="network_d is missing from the options: SRGANModel trains"):
            options.check({**opt, "model_type": "SRGANModel", "network_d": None}, is_train=True)
    if key.startswith("train"):
        opt["network_d"]["num_feat"] = 4
    block = opt
    *parents, last = key.split(".")
    for parent in parents:
        block = block[parent]
    block[last] = value
    with pytest.raises(UsageError) as error:
        options.check(opt, is_train=True, plugins=["wnet_arch"])
    assert said in str(error.value)
