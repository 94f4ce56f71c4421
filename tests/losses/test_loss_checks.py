"""Losses refuse what they would silently spread, drop or read as something else."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

from wnet_arch import losses
from wnet_arch.archs.dic_arch import DICOutput
from wnet_arch.archs.fishfsrnet_arch import FishFSRNetOutput
from wnet_arch.archs.fsrnet_arch import FSRNetOutput
from wnet_arch.archs.sfmnet_arch import SFMNetOutput
from wnet_arch.errors import UsageError
from wnet_arch.losses import WNetLoss


def weights_of_all_losses():
    """Every argument of every loss that is a weight, by its name."""
    for name in losses.__all__:
        cls = getattr(losses, name)
        if isinstance(cls, type):
            for argument, parameter in inspect.signature(cls).parameters.items():
                if argument.endswith("weight") and isinstance(parameter.default, float):
                    yield cls, argument


ALL_WEIGHTS = list(weights_of_all_losses())


def test_all_losses_are_looked_at():
    assert len({cls for cls, _ in ALL_WEIGHTS}) == 10
    assert (WNetLoss, "perceptual_weight") in ALL_WEIGHTS


@pytest.mark.parametrize("value", [None, "1.0", True, -1.0, math.nan, math.inf, torch.ones(1)])
@pytest.mark.parametrize(("cls", "argument"), ALL_WEIGHTS, ids=lambda value: getattr(value, "__name__", value))
def test_weights_are_numbers(cls, argument, value):
    others = {"weights": "none.pth"} if cls is losses.SphereFaceIdentityLoss else {}
    with pytest.raises(UsageError, match=f"{cls.__name__}: {argument} is a number, at least 0, not"):
        cls(**others, **{argument: value})


@pytest.mark.parametrize("loss", [WNetLoss, losses.VGGPerceptualLoss])
@pytest.mark.parametrize("layers", [{}, [], "conv5_4", ["conv5_4"], {"conv5_4": None}, {"conv5_4": "1"}])
def test_layers_have_weights(loss, layers, vgg_file):
    with pytest.raises(UsageError, match=f"{loss.__name__}: layer_weights"):
        loss(vgg=vgg_file, layer_weights=layers)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vgg": ""}, "vgg is the name or path of weights, or nothing, not ''"),
        ({"vgg": False}, "vgg is .* not False"),
        ({"scale": "4"}, "scale is 1, 2, 4 or 8, not '4'"),
        ({"scale": 3}, "scale is 1, 2, 4 or 8, not 3"),
        ({"component_weights": {}}, "component_weights gives at least one component"),
        ({"component_weights": {"eye": 1.0}}, "component_weights has 'eye'; the components are eyes, brows, nose, mouth"),
        ({"component_weights": {"eyes": "2"}}, "component_weights.eyes is a number"),
        ({"component_mean": "face"}, "component_mean is 'region' or 'image', not 'face'"),
    ],
)
def test_other_arguments_of_wnets_loss(options, said):
    with pytest.raises(UsageError, match=f"WNetLoss: {said}"):
        WNetLoss(**{"vgg": None, **options})


def faces(channels: int = 3, side: int = 32, dtype=torch.float32) -> torch.Tensor:
    return torch.zeros(2, channels, side, side, dtype=dtype)


def labels(*shape: int, dtype=torch.uint8) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


GOOD = {"sr": faces(), "parsing": faces(), "gt": faces(), "label": labels(2, 32, 32)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"label": labels(2, 1, 32, 32)}, r"label is a uint8 tensor \(B, H, W\), here \(2, 32, 32\), not uint8 \(2, 1, 32, 32\)"),
        ({"label": labels(1, 32, 32)}, r"not uint8 \(1, 32, 32\)"),
        ({"label": labels(2, 16, 16)}, r"not uint8 \(2, 16, 16\)"),
        ({"label": labels(2, 32, 32, dtype=torch.float32)}, "not float32"),
        ({"label": labels(2, 32, 32, dtype=torch.int64)}, "not int64"),
        ({"label": None}, "not NoneType"),
        ({"parsing": faces(1)}, r"parsing is a float tensor \(B, 3, H, W\), not float32 \(2, 1, 32, 32\)"),
        ({"parsing": faces(side=16)}, r"parsing is \(2, 3, 16, 16\) and gt \(2, 3, 32, 32\)"),
        ({"sr": faces()[:1]}, r"sr is \(1, 3, 32, 32\) and gt"),
        ({"sr": faces()[0]}, r"sr is a float tensor"),
        ({"gt": faces(dtype=torch.uint8)}, r"gt is a float tensor .*, not uint8"),
    ],
)
def test_wnets_loss_takes_what_belongs_together(given, said):
    loss = WNetLoss(vgg=None)
    loss(**GOOD)
    with pytest.raises(UsageError, match=f"WNetLoss: .*{said}"):
        loss(**{**GOOD, **given})


def test_sides_are_multiples_of_the_scale_where_maps_are_reduced():
    small = {name: value[..., :20, :20] for name, value in GOOD.items()}
    WNetLoss(vgg=None, parsing_target="lr", scale=4)(**small)
    with pytest.raises(UsageError, match="multiples of 8, not 20x20"):
        WNetLoss(vgg=None, parsing_target="lr", scale=8)(**small)


@pytest.mark.parametrize(
    ("loss", "out"),
    [
        (losses.DICLoss, DICOutput(faces(), (faces(), faces()), (torch.zeros(2, 68, 8, 8),) * 2)),
        (losses.FSRNetLoss, FSRNetOutput(faces(), faces(), torch.zeros(2, 11, 8, 8))),
        (losses.SFMNetLoss, SFMNetOutput(faces(), faces())),
        (losses.FishFSRNetLoss, FishFSRNetOutput(faces(), torch.zeros(2, 3, 8, 8))),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_losses_with_priors_take_what_belongs_together(loss, out):
    good = {"gt": faces(), "label": labels(2, 32, 32), "landmarks": torch.zeros(2, 68, 2)}
    name = loss.__name__
    loss = loss()
    loss(out, **good)
    for key, value, said in [
        ("label", labels(2, 1, 32, 32), "label is a uint8 tensor"),
        ("label", labels(2, 32, 32, dtype=torch.int32), "label is a uint8 tensor"),
        ("landmarks", torch.zeros(2, 5, 2), "landmarks are a float tensor"),
        ("landmarks", torch.zeros(2, 68, 2, dtype=torch.int64), "landmarks are a float tensor"),
        ("gt", faces()[:1], "gt|label"),
    ]:
        with pytest.raises(UsageError, match=f"{name}: .*{said}"):
            loss(out, **{**good, key: value})
    for field in loss.images:
        wrong = faces()[:1]
        wrong = (faces(), wrong) if isinstance(getattr(out, field), tuple) else wrong
        with pytest.raises(UsageError, match=f"{name}: {field} is"):
            loss(out._replace(**{field: wrong}), **good)


def test_perceptual_and_wavelet_losses_take_what_belongs_together(vgg_file):
    loss = losses.VGGPerceptualLoss(vgg=vgg_file, layer_weights={"conv1_1": 1.0})
    with pytest.raises(UsageError, match="VGGPerceptualLoss: x is"):
        loss(faces()[:1], faces())
    loss = losses.WIPAWaveletLoss()
    loss([torch.zeros(2, 9, 16, 16)], faces())
    with pytest.raises(UsageError, match=r"level 0 are \(2, 1, 16, 16\), not \(2, 9, 16, 16\)"):
        loss([torch.zeros(2, 1, 16, 16)], faces())
    for wrong in ("11", [], None, [1, "2"]):
        with pytest.raises(UsageError, match="WIPAWaveletLoss: level_weights"):
            losses.WIPAWaveletLoss(level_weights=wrong)
