"""dlib's face recognition network in torch: batched, on any device, ten times as fast on a CPU as dlib's own package.

The network is King's ``dnn_face_recognition_resnet_model_v1`` (dlib, 2017): a ResNet of 29 convolutions with half the usual
filters (He et al., 2016) that gives 128 numbers a face. Its file is dlib's serialisation, of which only the tensors are
read here: nothing in it is executed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wnet_arch.archs.ops.folding import bias_of
from wnet_arch.errors import WeightsError

#: Filters of each residual block, and whether it halves the image.
_BLOCKS = (
    *[(32, False)] * 3,
    (64, True), *[(64, False)] * 3,
    (128, True), *[(128, False)] * 2,
    (256, True), *[(256, False)] * 2,
    (256, True),
)  # fmt: skip
#: Side of a face chip, and what dlib subtracts from it and divides it by.
CHIP_SIZE = 150
_MEAN, _DIVISOR = (122.782, 117.001, 104.298), 256.0


class _Affine(nn.Module):
    """A factor and an offset a channel: what batch normalisation is once training has ended."""

    def __init__(self, channels: int):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(channels, 1, 1))
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor + self.offset


class _Block(nn.Module):
    """Two 3x3 convolutions around a shortcut. A halving block averages its shortcut, and whichever of the two sums is
    smaller, in channels or in pixels, is filled up with zeros at its end.
    """

    def __init__(self, inputs: int, filters: int, halve: bool):
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(inputs, filters, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.first_affine = _Affine(filters)
        self.second = nn.Conv2d(filters, filters, 3, padding=1)
        self.second_affine = _Affine(filters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second_affine(self.second(F.relu(self.first_affine(self.first(x)))))
        if self.halve:
            x = F.avg_pool2d(x, 2, stride=2)
        size = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:])]
        return F.relu(_filled(x, size) + _filled(y, size))


def _filled(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    missing = [want - have for want, have in zip(size, x.shape[1:])]
    return F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0])) if any(missing) else x


class DlibResNet(nn.Module):
    """The network. Random until :meth:`load` is called.

    Shape:
        RGB chips (B, 3, 150, 150) of 0..255 -> (B, 128). dlib calls two faces one person when these are less than 0.6 apart.
    """

    def __init__(self):
        super().__init__()
        self.mean: torch.Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.stem_affine = _Affine(32)
        inputs = [32] + [filters for filters, _ in _BLOCKS]
        self.blocks = nn.Sequential(*(_Block(n, filters, halve) for n, (filters, halve) in zip(inputs, _BLOCKS)))
        self.head = nn.Linear(256, 128, bias=False)
        self.requires_grad_(False)

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        """Vectors (B, 128) of RGB chips (B, 3, 150, 150) of 0..255."""
        x = F.relu(self.stem_affine(self.stem((chips - self.mean) / _DIVISOR)))
        x = self.blocks(F.max_pool2d(x, 3, stride=2))
        return self.head(x.mean((2, 3)))

    def load(self, path: str | Path) -> DlibResNet:
        """Fills in the weights of ``dlib_face_recognition_resnet_model_v1.dat``; returns itself.

        Raises:
            WeightsError: the file does not hold this network.
        """
        try:
            reader = _TensorReader(Path(path).read_bytes())
            for layer in self.modules():  # in the order in which they are applied
                if isinstance(layer, (nn.Conv2d, _Affine)):
                    reader.fill(layer)
            self.head.weight.copy_(reader.tensor(b"\x04fc_2", skip=2).reshape(256, 128).T)
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, RuntimeError, IndexError) as error:
            raise WeightsError(f"{path} does not hold dlib's face recognition network ({error})") from error
        return self


class _TensorReader:
    """Reads the tensors of a serialised dlib network one after the other, from the input to the output."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def fill(self, layer: nn.Conv2d | _Affine) -> None:
        """Gives a convolution or an affine layer the values of the next layer of its kind."""
        if isinstance(layer, nn.Conv2d):
            values = self.tensor(b"\x05con_4")
            own = bias_of(layer)
            kernel, bias = values.split([layer.weight.numel(), own.numel()])  # a ValueError unless they fit
            layer.weight.copy_(kernel.view_as(layer.weight))
            own.copy_(bias)
        else:
            values = self.tensor(b"\x07affine_")
            layer.factor.copy_(values[: layer.factor.numel()].view_as(layer.factor))
            layer.offset.copy_(values[layer.factor.numel() :].view_as(layer.offset))

    def tensor(self, name: bytes, skip: int = 0) -> torch.Tensor:
        """The tensor of the next layer called ``name``, flat, after ``skip`` whole numbers of the layer's own."""
        self.position = self.data.index(name, self.position) + len(name)
        for _ in range(skip):
            self._integer()
        if self._integer() != 2:
            raise ValueError("another version of tensors")
        count = int(np.prod([self._integer() for _ in range(4)]))
        start, self.position = self.position, self.position + 4 * count
        return torch.from_numpy(np.frombuffer(self.data, "<f4", count, start).copy())

    def _integer(self) -> int:
        """dlib's whole numbers: how many bytes follow, then these, the lowest first."""
        length = self.data[self.position]
        if not 1 <= length <= 8:
            raise ValueError("damaged")
        self.position += 1 + length
        return int.from_bytes(self.data[self.position - length : self.position], "little")
