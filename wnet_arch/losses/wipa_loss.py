"""The losses of WIPA (Dastmalchi and Aghaeinia, SPIC 2022) that no other method has: wavelet coefficients and identity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from wnet_arch.archs.baseline_layers import conv, haar, to_signed
from wnet_arch.archs.layers import full_precision
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.losses import checks
from wnet_arch.weights.checkpoint import read_state_dict


def haar_targets(image: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """What WIPA's wavelet branches learn to predict.

    Level l transforms the approximation of level l - 1 (the image for l = 0) and divides the details by 2 ** l, which undoes
    the growth of an orthonormal approximation: every level is in [-1, 1]. Signs are those of the usual wavelet libraries:
    h is top minus bottom row, v left minus right column, d the product of both. The sheet does not state them.

    Args:
        image: (B, 3, H, W) in [0, 1], H and W multiples of ``2 ** levels``.
        levels: how many.

    Returns:
        finest first, (B, 9, H / 2, W / 2), (B, 9, H / 4, W / 4)...: h, v, d of R, then of G, then of B.

    Raises:
        UsageError: the image cannot be halved that often.
    """
    if any(side % 2**levels for side in image.shape[-2:]):
        height, width = image.shape[-2:]
        raise UsageError(f"haar_targets: {width}x{height} cannot be halved {levels} times")
    targets = []
    for level in range(levels):
        image, right_minus_left, bottom_minus_top, diagonal = haar(image)
        details = torch.stack([-bottom_minus_top, -right_minus_left, diagonal], dim=2)
        targets.append(details.flatten(1, 2) / 2**level)
    return targets


@LOSS_REGISTRY.register()
class WIPAWaveletLoss(nn.Module):
    """``loss_weight * mean over levels of weight * L1`` between predicted and real Haar coefficients.

    Args:
        level_weights: finest level first; at least as many as the network has levels (2 for x4, 3 for x8). Published: 1,
            1/4, 1/16.
        loss_weight: weight of the mean.
    """

    def __init__(self, level_weights: Sequence[float] = (1, 1 / 4, 1 / 16), loss_weight: float = 1.0):
        super().__init__()
        checks.weights("WIPAWaveletLoss", loss_weight=loss_weight)
        if isinstance(level_weights, str) or not isinstance(level_weights, Sequence) or not level_weights:
            raise UsageError(f"WIPAWaveletLoss: level_weights is a list of numbers, not {level_weights!r}")
        checks.weights("WIPAWaveletLoss", **{f"level_weights[{i}]": weight for i, weight in enumerate(level_weights)})
        self.level_weights, self.loss_weight = tuple(level_weights), loss_weight

    def forward(self, wavelets: Sequence[torch.Tensor], gt: torch.Tensor) -> torch.Tensor:
        """Scalar float32.

        Args:
            wavelets: predictions, finest first, (B, 9, H / 2, W / 2)..., see :class:`~wnet_arch.archs.wipa_arch.WIPAOutput`.
            gt: (B, 3, H, W) in [0, 1].

        Raises:
            UsageError: there are more levels than weights, or tensors of other shapes.
        """
        checks.images("WIPAWaveletLoss", gt=gt)
        if len(wavelets) > len(self.level_weights):
            raise UsageError(
                f"WIPAWaveletLoss: level_weights has {len(self.level_weights)} entries, the network {len(wavelets)} levels"
            )
        with full_precision(gt.device):
            targets = haar_targets(gt.float(), len(wavelets))
            for level, (found, wanted) in enumerate(zip(wavelets, targets)):
                if found.shape != wanted.shape:
                    shapes = f"{tuple(found.shape)}, not {tuple(wanted.shape)}"
                    raise UsageError(f"WIPAWaveletLoss: the coefficients of level {level} are {shapes}")
            pairs = zip(self.level_weights, wavelets, targets)
            return self.loss_weight * checks.total(weight * F.l1_loss(x.float(), y) for weight, x, y in pairs) / len(wavelets)


class SphereFace20(nn.Module):
    """Face recognition network of 20 layers (Liu et al., CVPR 2017), frozen; 22,670,656 parameters without its classifier.

    Args:
        weights: path of a ``.pth`` or ``.safetensors`` file whose entries, but for the classifier ``fc6``, are those of
            convolutions and PReLUs in the order in which they are applied, then of the linear layer.

    Shape:
        (B, 3, 111, 95) or (B, 3, 112, 96) in about [-1, 1] -> (B, 512).

    Raises:
        WeightsError: the file is missing, damaged or holds another network.
    """

    def __init__(self, weights: str):
        super().__init__()
        self.stages = nn.ModuleList()
        channels = 3
        for wider, count in ((64, 1), (128, 2), (256, 4), (512, 1)):
            stage = nn.ModuleList([self._layer(channels, wider, 2)])
            for _ in range(count):
                stage.append(nn.Sequential(self._layer(wider, wider), self._layer(wider, wider)))
            self.stages.append(stage)
            channels = wider
        self.embed = nn.Linear(512 * 7 * 6, 512)
        self._load(weights)
        self.requires_grad_(False)
        self.eval()

    @staticmethod
    def _layer(num_in_ch: int, num_out_ch: int, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(conv(num_in_ch, num_out_ch, stride=stride), nn.PReLU(num_out_ch))

    def _load(self, weights: str) -> None:
        state = {name: value for name, value in read_state_dict(weights).items() if not name.startswith("fc6")}
        own = self.state_dict()
        if [value.shape for value in state.values()] != [value.shape for value in own.values()]:
            raise WeightsError(f"{weights} does not hold SphereFace's network of 20 layers")
        self.load_state_dict(dict(zip(own, state.values())))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, 512), not of unit length."""
        for down, *blocks in cast(Iterable[nn.ModuleList], self.stages):
            x = down(x)
            for block in blocks:
                x = x + block(x)
        return self.embed(x.flatten(1))


@LOSS_REGISTRY.register()
class SphereFaceIdentityLoss(nn.Module):
    """``loss_weight * mean(1 - cosine)`` of face embeddings, WIPA's identity loss.

    There is no file of the weights that this package could fetch, so WIPA's option files leave the loss out; no other
    network is put in its place. With a file at hand it is ``train.identity_opt``; never run with published weights here.

    Args:
        weights: path, see :class:`SphereFace20`.
        loss_weight: 5e-3 as published.

    Shape:
        two images (B, 3, 128, 128) in [0, 1] -> scalar float32; no gradient flows into the second.
    """

    def __init__(self, weights: str, loss_weight: float = 5e-3):
        super().__init__()
        checks.weights("SphereFaceIdentityLoss", loss_weight=loss_weight)
        self.loss_weight = loss_weight
        self.net = SphereFace20(weights)

    def forward(self, x: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
        """The loss of SR and true faces.

        Raises:
            UsageError: the images are not (B, 3, 128, 128), or as many.
        """
        checks.images("SphereFaceIdentityLoss", x=x, gt=gt)
        if x.shape[-2:] != (128, 128):
            raise UsageError(f"SphereFaceIdentityLoss takes faces of 128x128, not {x.shape[-1]}x{x.shape[-2]}")
        with full_precision(x.device):
            embedding = self.net(self.crop(x))
            with torch.no_grad():
                wanted = self.net(self.crop(gt))
            return self.loss_weight * (1 - F.cosine_similarity(embedding, wanted)).mean()

    @staticmethod
    def crop(image: torch.Tensor) -> torch.Tensor:
        """Rows 9 to 119 and columns 17 to 111, in [-127.5 / 128, 127.5 / 128]."""
        return to_signed(image.float()[..., 9:120, 17:112]) * (127.5 / 128)
