"""VGG-19 features for perceptual losses (equation 26), with weights chosen by name and never swapped or random."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.ops.folding import bias_of
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.weights import pth, resolve

CONVOLUTIONS_PER_STAGE = (2, 2, 4, 4, 4)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _layer_position(name: str) -> tuple[int, bool]:
    """``"conv5_4"`` -> (index of the convolution counted from 0, whether ReLU follows)."""
    match = re.fullmatch(r"(conv|relu)([1-5])_([1-4])", name)
    if not match or int(match[3]) > CONVOLUTIONS_PER_STAGE[int(match[2]) - 1]:
        raise UsageError(f"VGG-19 has no layer '{name}'; it has conv1_1 ... conv5_4 (before ReLU) and relu1_1 ... relu5_4")
    return sum(CONVOLUTIONS_PER_STAGE[: int(match[2]) - 1]) + int(match[3]) - 1, match[1] == "relu"


def check(layers: Iterable[str], precision: str) -> None:
    """Raises :class:`UsageError` unless VGG-19 has the layers, and the precision is one of its convolutions'."""
    if precision not in ("fp32", "bf16"):
        raise UsageError(f"the precision of VGG-19 is 'fp32' or 'bf16', not {precision!r}")
    for layer in layers:
        _layer_position(layer)


class VGG19Features(nn.Module):
    """Frozen VGG-19 (Simonyan and Zisserman 2015) up to the deepest layer asked for.

    Args:
        weights: ``"vgg19"`` (torchvision's, trained on ImageNet), ``"vgg19-normalised"`` (the rescaled Caffe network whose
            mean activation is about 1 in every layer: loss weights do not carry over between the two), or the path of a
            file with either layout.
        layers: names such as ``"conv5_4"`` (before ReLU) or ``"relu3_1"``.
        precision: ``"fp32"``, or ``"bf16"`` for convolutions in bfloat16: half the time on CPUs that have it, and features that
            are right to two or three digits.

    Shape:
        (B, 3, H, W) RGB in [0, 1] -> dict from layer name to (B, C, H / 2**(stage - 1), W / 2**(stage - 1)), float32.

    Raises:
        UsageError: a layer or a precision that does not exist.
        WeightsError: the weights are missing, damaged or of another network.
    """

    def __init__(self, weights: str = "vgg19-normalised", layers: tuple[str, ...] = ("conv5_4",), precision: str = "fp32"):
        super().__init__()
        check(layers, precision)
        self.in_bfloat16 = precision == "bf16"
        self.layers = {name: _layer_position(name) for name in layers}
        depth = max(index for index, _ in self.layers.values()) + 1
        convolutions: list[nn.Conv2d] = []
        self.pool_before = set()
        in_channels = 3
        for stage, count in enumerate(CONVOLUTIONS_PER_STAGE):
            if stage:
                self.pool_before.add(len(convolutions))
            for _ in range(count):
                out_channels = min(64 * 2**stage, 512)
                convolutions.append(nn.Conv2d(in_channels, out_channels, 3, padding=1))
                in_channels = out_channels
        self.convolutions = nn.ModuleList(convolutions[:depth])
        self.normalise = nn.Conv2d(3, 3, 1)
        self._load(weights)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # its convolutions are faster so, on CPUs and in bfloat16
        self.eval()

    def train(self, mode: bool = True) -> VGG19Features:
        """Stays in evaluation mode."""
        return super().train(False)

    def _load(self, weights: str) -> None:
        path = Path(weights) if os.path.isfile(weights) else resolve(weights)
        state = pth.load(path, "is not a readable VGG-19")
        try:
            kernels = [key for key, value in state.items() if key.endswith("weight") and value.ndim == 4]
        except AttributeError as error:
            raise WeightsError(f"{path} is not a readable VGG-19: it holds something else than named tensors") from error
        if any(key.endswith("running_mean") for key in state):
            raise WeightsError(f"{path} holds a VGG-19 with batch normalisation (vgg19_bn); the one without is wanted (vgg19)")
        three_by_three = [key for key in kernels if state[key].shape[-1] == 3]
        convolutions = cast(list[nn.Conv2d], list(self.convolutions))
        shapes = [tuple(conv.weight.shape) for conv in convolutions]
        one_by_one = [key for key in kernels if state[key].shape == (3, 3, 1, 1)]
        found = [tuple(state[key].shape) for key in three_by_three[: len(shapes)]]
        if found != shapes or not all(_bias_beside(key) in state for key in three_by_three[: len(shapes)] + one_by_one):
            raise WeightsError(f"{path} does not hold the 16 convolutions of VGG-19")
        with torch.no_grad():
            for conv, key in zip(convolutions, three_by_three):
                conv.weight.copy_(state[key])
                bias_of(conv).copy_(state[_bias_beside(key)])
            if one_by_one:  # the normalised network carries its own colour transform
                self.normalise.weight.copy_(state[one_by_one[0]])
                bias_of(self.normalise).copy_(state[_bias_beside(one_by_one[0])])
            else:
                mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
                self.normalise.weight.copy_(torch.diag(1 / std)[..., None, None])
                bias_of(self.normalise).copy_(-mean / std)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features (B, C, h, w) in float32 by layer, of images (B, 3, H, W) in [0, 1]."""
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            return {name: features.float() for name, features in self._features(image).items()}

    def _features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        wanted = {position: name for name, position in self.layers.items()}
        features = {}
        x = self.normalise(image.contiguous(memory_format=torch.channels_last))
        for index, conv in enumerate(self.convolutions):
            if index in self.pool_before:
                x = F.max_pool2d(x, 2)
            x = conv(x)
            if (index, False) in wanted:
                features[wanted[index, False]] = x
            x = F.relu(x)  # not in place: the line above may have handed x out
            if (index, True) in wanted:
                features[wanted[index, True]] = x
        return features


def _bias_beside(weight: str) -> str:
    """The name of the bias beside a weight."""
    return weight[: -len("weight")] + "bias"
