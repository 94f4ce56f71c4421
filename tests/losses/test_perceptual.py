"""VGGPerceptualLoss against a transcription with torch's own functions, with random weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.losses import VGGPerceptualLoss
from wnet_arch.losses.vgg import CONVOLUTIONS_PER_STAGE, IMAGENET_MEAN, IMAGENET_STD, VGG19Features

MRRNET_LAYERS = {"conv1_2": 1 / 32, "conv2_2": 1 / 16, "conv3_4": 1 / 8, "conv4_4": 1 / 4, "conv5_4": 1.0}


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 3, 32, 32, generator=generator).unbind()


def transcribed(vgg_file: str, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every convolution's output, before ReLU, and ReLU's, by name."""
    state = torch.load(vgg_file, weights_only=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    x, index, features = (image - mean) / std, 0, {}
    for stage, count in enumerate(CONVOLUTIONS_PER_STAGE, start=1):
        for number in range(1, count + 1):
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
            features[f"conv{stage}_{number}"] = x
            x = x.relu()
            features[f"relu{stage}_{number}"] = x
            index += 2
        x, index = F.max_pool2d(x, 2), index + 1
    return features


def test_mrrnets_loss_is_the_weighted_l1_of_five_layers_of_enlarged_images(vgg_file, images):
    loss = VGGPerceptualLoss(vgg_file, MRRNET_LAYERS, criterion="l1", loss_weight=0.01, resize=64)
    value, style = loss(*images)
    a, b = (transcribed(vgg_file, F.interpolate(i, (64, 64), mode="bilinear", align_corners=False)) for i in images)
    expected = 0.01 * sum(weight * (a[name] - b[name]).abs().mean() for name, weight in MRRNET_LAYERS.items())
    assert style is None
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("layer", ["conv5_4", "relu3_1"])
def test_srgans_and_wipas_losses_are_the_squared_error_of_one_layer(vgg_file, images, layer):
    value, _ = VGGPerceptualLoss(vgg_file, {layer: 1.0}, criterion="l2", loss_weight=0.5)(*images)
    a, b = (transcribed(vgg_file, image)[layer] for image in images)
    torch.testing.assert_close(value, 0.5 * (a - b).square().mean(), rtol=1e-4, atol=0)


def test_gradients_reach_the_first_image_only_and_no_weight(vgg_file, images):
    x, gt = (image.clone().requires_grad_() for image in images)
    loss = VGGPerceptualLoss(vgg_file, {"conv2_2": 1.0})
    loss.train()
    loss(x, gt)[0].backward()
    assert x.grad.abs().max() > 0
    assert gt.grad is None
    assert not any(p.requires_grad for p in loss.parameters())
    assert not loss.vgg.training


def test_loss_is_float32_under_autocast_and_nothing_for_equal_images(vgg_file, images):
    loss = VGGPerceptualLoss(vgg_file, {"conv2_2": 1.0})
    with torch.autocast("cpu", torch.bfloat16):
        value, _ = loss(images[0].bfloat16(), images[1])
    assert value.dtype == torch.float32
    assert loss(images[0], images[0])[0].item() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"criterion": "l3"}, "criterion is 'l1' or 'l2', not 'l3'"),
        ({"resize": 0}, "resize is a side of at least 16"),
        ({"layer_weights": {}}, "layer_weights gives at least one layer its weight"),
        ({"layer_weights": {"conv6_1": 1.0}}, "VGG-19 has no layer 'conv6_1'"),
    ],
)
def test_wrong_options_are_named(vgg_file, options, said):
    with pytest.raises(UsageError, match=said):
        VGGPerceptualLoss(vgg_file, **options)


def test_other_networks_are_not_taken_for_vgg19(vgg_file, tmp_path):
    state = torch.load(vgg_file, weights_only=True)
    with_norms = {**state, "features.1.running_mean": torch.zeros(64)}
    without_biases = {key: value for key, value in state.items() if key.endswith("weight")}
    for wrong, said in (
        (with_norms, r"holds a VGG-19 with batch normalisation \(vgg19_bn\); the one without is wanted"),
        (without_biases, "does not hold the 16 convolutions of VGG-19"),
    ):
        torch.save(wrong, tmp_path / "wrong.pth")
        with pytest.raises(WeightsError, match=said):
            VGG19Features(str(tmp_path / "wrong.pth"), ("conv2_2",))
