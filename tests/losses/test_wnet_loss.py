"""W-Net's loss against transcriptions of equations 24 to 29, and its behaviour where maps are empty or unknown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import drawn_face
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.faces import labels
from wnet_arch.losses import WNetLoss, build_loss
from wnet_arch.losses.grid_artifact import PERIODS, lattice
from wnet_arch.losses.shifting import random_crop
from wnet_arch.losses.vgg import VGG19Features
from wnet_arch.losses.wnet_loss import component_masks, skin_target


@pytest.fixture
def batch():
    """sr, parsing, gt, label of two faces."""
    torch.manual_seed(0)
    faces = [drawn_face(seed, 32) for seed in range(2)]
    gt = torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 255 for image, _ in faces])
    label = torch.stack([torch.from_numpy(parsing) for _, parsing in faces])
    return torch.rand_like(gt), torch.rand_like(gt), gt, label


def test_pixel_and_parsing_terms_are_equations_24_and_25(batch):
    sr, parsing, gt, label = batch
    terms = WNetLoss(vgg=None, pixel_weight=2.0, parsing_weight=3.0)(*batch)
    assert terms["l_pix"].item() == pytest.approx(2 * ((sr - gt) ** 2).mean().item(), rel=1e-5)
    target = (label == 1).float()[:, None].repeat(1, 3, 1, 1)
    assert terms["l_parsing"].item() == pytest.approx(3 * ((parsing - target) ** 2).mean().item(), rel=1e-5)


def test_component_terms_are_means_over_the_region(batch):
    sr, _, gt, label = batch
    terms = WNetLoss(vgg=None, key_weight=0.5)(*batch)
    for name, classes in (("eyes", (4, 5)), ("brows", (6, 7)), ("nose", (2,)), ("mouth", (10, 11, 12))):
        each = []
        for i in range(2):
            inside = np.isin(label[i].numpy(), classes)
            each.append((((sr[i] - gt[i]) ** 2).numpy()[:, inside]).mean())
        assert terms[f"l_{name}_pix"].item() == pytest.approx(0.5 * np.mean(each), rel=1e-5)


def test_component_error_over_the_image_is_equation_24_of_masked_images(batch):
    """Equations 24 and 27 read literally: 1 / (C H W), whatever the region's size."""
    sr, _, gt, label = batch
    terms = WNetLoss(vgg=None, key_weight=0.5, component_mean="image")(*batch)
    for name, mask in component_masks(label).items():
        each = [((sr[i] * mask[i] - gt[i] * mask[i]).numpy() ** 2).sum() / (3 * 32 * 32) for i in range(2)]
        assert terms[f"l_{name}_pix"].item() == pytest.approx(0.5 * np.mean(each), rel=1e-5)


@pytest.mark.parametrize("masked", ["images", "features"])
@pytest.mark.parametrize("mean", ["region", "image"])
def test_component_weights_multiply_both_terms_of_a_component(batch, vgg_file, masked, mean):
    options = {"vgg": vgg_file, "layer_weights": {"conv1_2": 1.0}, "masked": masked, "component_mean": mean, "image_weight": 1.0}
    plain = WNetLoss(**options)(*batch)
    weighted = WNetLoss(**options, component_weights={"eyes": 2.0, "mouth": 0.0, "nose": 0.25})(*batch)
    factors = {"eyes": 2.0, "mouth": 0.0, "nose": 0.25}
    assert list(weighted) == list(plain)
    for name, term in plain.items():
        wanted = factors.get(name.split("_")[1], 1.0) * term.item()
        assert weighted[name].item() == pytest.approx(wanted, rel=1e-5), name


def test_perceptual_terms_are_equation_26_on_masked_images(batch, vgg_file):
    sr, _, gt, label = batch
    loss = WNetLoss(vgg=vgg_file, key_weight=0.5, layer_weights={"conv2_2": 2.0, "relu1_1": 1.0})
    terms = loss(*batch)
    vgg = VGG19Features(vgg_file, ("conv2_2", "relu1_1"))
    for name, mask in component_masks(label).items():
        a, b = vgg(sr * mask), vgg(gt * mask)
        expected = 2.0 * ((a["conv2_2"] - b["conv2_2"]) ** 2).mean() + ((a["relu1_1"] - b["relu1_1"]) ** 2).mean()
        assert terms[f"l_{name}_per"].item() == pytest.approx(0.5 * expected.item(), rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_method_half_of_every_module_is_still_there(vgg_file, precision):
    vgg = VGG19Features(vgg_file, ("conv1_2",), precision)
    assert vgg.half() is vgg
    assert {parameter.dtype for parameter in vgg.parameters()} == {torch.float16}


def test_vgg_is_torchvisions(vgg_file):
    from torchvision.models import vgg19

    reference = vgg19(weights=None).features.eval()
    reference.load_state_dict({k.removeprefix("features."): v for k, v in torch.load(vgg_file, weights_only=True).items()})
    x = torch.rand(1, 3, 48, 48)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    features = VGG19Features(vgg_file, ("conv1_2", "relu3_1", "conv5_4"))(x)
    with torch.no_grad():
        for name, stop in (("conv1_2", 3), ("relu3_1", 12), ("conv5_4", 35)):
            torch.testing.assert_close(features[name], reference[:stop]((x - mean) / std), rtol=1e-4, atol=1e-5)


def test_terms_are_the_same_with_and_without_each_other_and_keys_never_change(batch, vgg_file):
    sr, parsing, gt, label = batch
    loss = WNetLoss(vgg=vgg_file, layer_weights={"conv1_1": 1.0})
    empty = torch.zeros_like(label)
    assert list(loss(*batch)) == list(loss(sr, parsing, gt, empty)) == [
        "l_pix", "l_parsing",
        "l_eyes_pix", "l_brows_pix", "l_nose_pix", "l_mouth_pix", "l_eyes_per", "l_brows_per", "l_nose_per", "l_mouth_per",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [0, labels.UNKNOWN])
def test_empty_regions_give_zero_and_finite_gradients(batch, vgg_file, value):
    sr, parsing, gt, label = batch
    sr.requires_grad_()
    terms = WNetLoss(vgg=vgg_file, layer_weights={"conv1_1": 1.0})(sr, parsing, gt, torch.full_like(label, value))
    assert all(term == 0 for name, term in terms.items() if name not in ("l_pix", "l_parsing"))
    sum(terms.values()).backward()
    torch.testing.assert_close(sr.grad, 2 * (sr - gt).detach() / sr.numel())


@pytest.mark.parametrize("target", ["hr", "lr"])
def test_unknown_maps_contribute_nothing(batch, target):
    sr, parsing, gt, label = batch
    label = label.clone()
    label[1] = labels.UNKNOWN
    parsing.requires_grad_()
    loss = WNetLoss(vgg=None, parsing_target=target, scale=4)
    both = loss(sr, parsing, gt, label)["l_parsing"]
    alone = loss(sr[:1], parsing[:1], gt[:1], label[:1])["l_parsing"]
    assert both.item() == pytest.approx(alone.item() / 2)  # the mean over two images, one of which gives 0
    both.backward()
    assert parsing.grad[1].abs().max() == 0
    assert parsing.grad[0].abs().max() > 0


def test_unknown_pixels_do_not_count(batch):
    sr, parsing, gt, label = batch
    label = label.clone()
    label[:, :10] = labels.UNKNOWN
    changed = parsing.clone()
    changed[:, :, :10] += 100
    loss = WNetLoss(vgg=None)
    assert loss(sr, changed, gt, label)["l_parsing"] == loss(sr, parsing, gt, label)["l_parsing"]


def test_loss_of_a_batch_is_the_mean_of_its_images(batch, vgg_file):
    loss = WNetLoss(vgg=vgg_file, layer_weights={"conv1_2": 1.0})
    together = loss(*batch)
    single = [loss(*(t[i : i + 1] for t in batch)) for i in range(2)]
    for name, value in together.items():
        assert value.item() == pytest.approx(np.mean([s[name].item() for s in single]), rel=1e-4), name


def test_lr_target_is_the_bicubically_reduced_clipped_map(batch):
    _, parsing, _, label = batch
    loss = WNetLoss(vgg=None, parsing_target="lr", scale=4)
    expected = []
    for i in range(2):
        mask = Image.fromarray((label[i].numpy() == 1).astype(np.float32), mode="F").resize((8, 8), Image.BICUBIC)
        target = np.asarray(mask).clip(0, 1)
        reduced = parsing[i].numpy().reshape(3, 8, 4, 8, 4).mean((2, 4))
        expected.append(((reduced - target) ** 2).mean())
    assert loss(*batch)["l_parsing"].item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_skin_target_knows_skin_from_components_and_from_the_unknown():
    label = torch.tensor([[[0, 1, 2, 4, 13, 255]]], dtype=torch.uint8)
    target, known = skin_target(label)
    assert target.flatten().tolist() == [0, 1, 0, 0, 0, 0]
    assert known.flatten().tolist() == [1, 1, 1, 1, 1, 0]


def test_loss_is_computed_in_float32_under_autocast(batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = WNetLoss(vgg=None)(*(t.bfloat16() if t.is_floating_point() else t for t in batch))
    assert all(term.dtype == torch.float32 for term in half.values())


def test_scale_comes_from_the_run_and_options_stay_as_they_are(vgg_file):
    options = {"type": "WNetLoss", "parsing_target": "lr", "vgg": None}
    assert build_loss(options, scale=4).scale == 4
    assert options == {"type": "WNetLoss", "parsing_target": "lr", "vgg": None}


def test_bad_options_and_files_are_named(tmp_path, vgg_file):
    with pytest.raises(UsageError, match="parsing_target"):
        WNetLoss(vgg=None, parsing_target="middle")
    with pytest.raises(UsageError, match="conv6_1"):
        VGG19Features(vgg_file, ("conv6_1",))
    other = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(8, 3, 3, 3), "conv.bias": torch.zeros(8)}, other)
    with pytest.raises(WeightsError, match="does not hold"):
        VGG19Features(str(other))
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="not a readable"):
        VGG19Features(str(broken))


def test_masked_features_are_those_of_the_whole_images_averaged_over_the_region(batch, vgg_file):
    sr, _, gt, label = batch
    loss = WNetLoss(vgg=vgg_file, key_weight=0.5, perceptual_weight=3.0, layer_weights={"conv1_2": 2.0}, masked="features")
    terms = loss(*batch)
    vgg = VGG19Features(vgg_file, ("conv1_2",))
    error = (vgg(sr)["conv1_2"] - vgg(gt)["conv1_2"]).square().mean(1)  # of the size of the image
    for name, mask in component_masks(label).items():
        each = [error[i][mask[i, 0] > 0].mean() for i in range(2)]
        assert terms[f"l_{name}_per"].item() == pytest.approx(0.5 * 3.0 * 2.0 * float(sum(each)) / 2, rel=1e-4)
    deep = WNetLoss(vgg=vgg_file, layer_weights={"conv3_4": 1.0}, masked="features")
    label.fill_(0)  # no component
    assert all(term == 0 for name, term in deep(*batch).items() if name.endswith("_per"))


@pytest.mark.parametrize("masked", ["images", "features"])
@pytest.mark.parametrize("key_weight", [0, 0.5])
def test_image_weight_adds_the_distance_of_the_whole_image(batch, vgg_file, masked, key_weight):
    sr, _, gt, _ = batch
    layers = {"conv2_2": 2.0}
    terms = WNetLoss(vgg=vgg_file, layer_weights=layers, key_weight=key_weight, image_weight=0.25, masked=masked)(*batch)
    vgg = VGG19Features(vgg_file, ("conv2_2",))
    expected = 0.25 * 2.0 * (vgg(sr)["conv2_2"] - vgg(gt)["conv2_2"]).square().mean().item()
    assert terms["l_per"].item() == pytest.approx(expected, rel=1e-4)
    without = WNetLoss(vgg=vgg_file, layer_weights=layers, key_weight=key_weight, masked=masked)(*batch)
    assert {name: term.item() for name, term in terms.items() if name != "l_per"} == pytest.approx(
        {name: term.item() for name, term in without.items()}
    )


def test_bfloat16_features_are_right_to_two_digits_and_say_what_they_are(batch, vgg_file):
    gt = batch[2]
    exact, rough = (VGG19Features(vgg_file, ("conv3_4", "relu1_1"), precision) for precision in ("fp32", "bf16"))
    for name, features in exact(gt).items():
        other = rough(gt)[name]
        assert other.dtype == torch.float32
        assert 0 < (other - features).norm() < 0.02 * features.norm()
    with torch.autocast("cpu", torch.bfloat16):  # what is around it does not matter
        around = exact(gt)["conv3_4"]
    assert torch.equal(around, exact(gt)["conv3_4"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"masked": "faces", "vgg": None}, "masked is 'images' or 'features', not 'faces'"),
        ({"image_weight": 1.0, "vgg": None}, "image_weight needs vgg"),
        ({"vgg_precision": "fp16"}, "the precision of VGG-19 is 'fp32' or 'bf16', not 'fp16'"),
    ],
)
def test_what_the_loss_cannot_do_is_said(options, said, vgg_file):
    with pytest.raises(UsageError, match=said):
        WNetLoss(**{"vgg": vgg_file, **options})


def test_vgg_sees_images_and_masks_cut_alike(batch, vgg_file):
    sr, _, gt, label = batch
    options = {"vgg": vgg_file, "layer_weights": {"conv1_2": 1.0}, "image_weight": 1.0, "masked": "features"}
    loss = WNetLoss(**options, shift=8)
    torch.manual_seed(3)
    terms = loss(*batch)
    torch.manual_seed(3)
    top, left = torch.randint(9, (2,)).tolist()
    part = (..., slice(top, top + 24), slice(left, left + 24))
    assert (top, left) not in ((0, 0), (8, 8))
    cut = WNetLoss(**options)(sr[part], sr[part], gt[part], label[part])
    assert {name: terms[name].item() for name in cut if name.endswith("_per")} == pytest.approx(
        {name: term.item() for name, term in cut.items() if name.endswith("_per")}
    )
    assert terms["l_pix"] == WNetLoss(vgg=None)(*batch)["l_pix"]  # of the whole image
    a, b = random_crop(8, torch.arange(1024.0).view(32, 32), torch.arange(1024.0).view(1, 32, 32))
    assert torch.equal(a, b[0])
    places = {random_crop(1, torch.arange(9.0).view(3, 3))[0][0, 0].item() for _ in range(200)}
    assert places == {0, 1, 3, 4}
    assert random_crop(0, sr)[0] is sr
    for shift in (32, 200):
        with pytest.raises(UsageError, match=f"shift: {shift} rows and columns cut off 40x32 pixels leave nothing"):
            random_crop(shift, torch.zeros(1, 3, 32, 40))
    with pytest.raises(UsageError, match="shift is a number of pixels, not -1"):
        WNetLoss(vgg=None, shift=-1)


@pytest.mark.parametrize("period", PERIODS)
def test_a_pattern_of_the_networks_own_costs_more_than_details(period):
    """A cell drawn over one square of noise comes back as it was; noise of the same RMS costs less."""
    generator = torch.Generator().manual_seed(0)
    gt, side = torch.rand(4, 3, 64, 96, generator=generator), 4 * period
    cell = 0.05 * torch.randn(period, period, generator=generator).sign()
    square = (..., slice(0, side), slice(side, 2 * side))
    drawn, noise = torch.zeros_like(gt), torch.zeros_like(gt)
    drawn[square] = cell.repeat(4, 4)
    noise[square] = 0.05 * torch.randn(4, 3, side, side, generator=generator)
    found = lattice(gt + drawn, period) - lattice(gt, period)
    assert found.shape == (4, 3, 64 // side, 96 // side, period, period)
    assert torch.corrcoef(torch.stack([found[0, 0, 0, 1].flatten(), cell.flatten()]))[0, 1] > 0.9

    label = torch.zeros(4, 64, 96, dtype=torch.uint8)
    loss = WNetLoss(vgg=None, grid_artifact_weight=5.0)

    def cost(sr: torch.Tensor) -> torch.Tensor:
        return loss(sr, gt, gt, label)["l_grid_artifact"]

    (other,) = {*PERIODS} - {period}
    there = lattice(gt + drawn, other) - lattice(gt, other)
    assert cost(gt + drawn).item() == pytest.approx(5 * (found.abs().mean() + there.abs().mean()).item())
    assert cost(gt) == 0
    assert cost(gt + noise) < 0.6 * cost(gt + drawn)
    assert "l_grid_artifact" not in WNetLoss(vgg=None)(gt, gt, gt, label)

    sr = (gt + drawn).requires_grad_()  # descending it takes the pattern away
    cost(sr).backward()
    upward = sr.grad[square].reshape(4, 3, 4, period, 4, period).mean(dim=(0, 1, 2, 4))
    assert torch.corrcoef(torch.stack([upward.flatten(), cell.flatten()]))[0, 1] > 0.7
