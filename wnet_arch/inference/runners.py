"""Runs a network on LR faces: the one place that does, whichever command asks.

A :class:`Runner` takes 8-bit faces and gives 8-bit faces: it makes batches, computes in float32, checks shape and numbers, rounds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from wnet_arch.archs.base import FaceSRNetwork
from wnet_arch.errors import DataError, UsageError, named
from wnet_arch.float32 import true_float32
from wnet_arch.inference.onnx import OnnxNetwork


class FaceResult(NamedTuple):
    """``sr``: uint8 (H, W, 3). ``skin``: the network's own estimate of the skin, float32 (H, W), about 0 to 1, if any."""

    sr: np.ndarray
    skin: np.ndarray | None


class Runner(ABC):
    """A network at one scale, ready to run.

    Attributes:
        name, scale: of the network, for messages.
        batch: faces at once unless a caller says otherwise; a network made for batches of one size has it here.
    """

    def __init__(self, name: str, scale: int, batch: int | None = None):
        self.name, self.scale, self.batch = name, scale, batch

    @abstractmethod
    def _compute(self, lq: np.ndarray, skin: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Images and, where asked for and estimated, skin maps: float32 (B, 3, h, w) to (B, 3, H, W) and (B, H, W)."""

    def run(
        self, faces: Sequence[np.ndarray], keys: Sequence[str] = (), batch: int | None = None, skin: bool = False
    ) -> list[FaceResult]:
        """Super-resolves faces.

        Args:
            faces: uint8 (h, w, 3), RGB, all of one size.
            keys: their names, for messages.
            batch: faces at once; ``None``: all of them, or as many as the network is made for.
            skin: whether the network's own skin maps are wanted.

        Raises:
            DataError: the output has another size than the scale demands, or values that are no numbers; the faces are named.
            WeightsError: an ONNX file cannot be run on such faces.
        """
        results, step = [], self.batch or batch or max(1, len(faces))
        for start in range(0, len(faces), step):
            part, names = faces[start : start + step], keys[start : start + step]
            sr, maps = self._compute(np.ascontiguousarray(np.stack(part).transpose(0, 3, 1, 2)).astype(np.float32) / 255, skin)
            self._check(sr, part, names)
            images = np.rint(sr.clip(0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
            fitting = maps if maps is not None and maps.shape[1:] == sr.shape[2:] else [None] * len(part)
            results += [FaceResult(np.ascontiguousarray(image), one) for image, one in zip(images, fitting)]
        return results

    def _check(self, sr: np.ndarray, faces: Sequence[np.ndarray], keys: Sequence[str]) -> None:
        height, width = (side * self.scale for side in faces[0].shape[:2])
        wanted = (len(faces), 3, height, width)
        if sr.shape != wanted:
            of = f" of {keys[0]}" if keys else ""
            raise DataError(f"{self.name} x{self.scale} makes {tuple(sr.shape)}{of}; {wanted} was expected")
        finite = np.isfinite(sr).all((1, 2, 3))
        if not finite.all():
            broken = [key for key, fine in zip(keys, finite) if not fine]
            of = f" of {named(broken)}" if broken else ""
            raise DataError(f"{self.name} x{self.scale} makes values that are no numbers (NaN or infinite){of}")


class TorchRunner(Runner):
    """A module that takes and gives float RGB in [0, 1]: of this package, or one that a plugin has registered with BasicSR.

    Args:
        net: in eval mode, on ``device``.
    """

    def __init__(self, name: str, scale: int, net: Callable[[torch.Tensor], torch.Tensor], device: str = "cpu"):
        super().__init__(name, scale)
        self.net, self.device = net, device

    def _compute(self, lq: np.ndarray, skin: bool) -> tuple[np.ndarray, np.ndarray | None]:
        with torch.inference_mode(), true_float32():
            batch = torch.from_numpy(lq).to(self.device)
            out = self.net(batch, return_aux=True) if skin and isinstance(self.net, FaceSRNetwork) else self.net(batch)
            sr = out[0] if isinstance(out, tuple) else out
            maps = getattr(out, "parsing", None)
            return sr.float().cpu().numpy(), None if maps is None else maps.float().mean(1).cpu().numpy()


class OnnxRunner(Runner):
    """An ONNX file. Its first output is the face; one called ``parsing`` is the network's skin map.

    No network of this package is built, or need be known, to run it.
    """

    def __init__(self, name: str, scale: int, network: OnnxNetwork):
        super().__init__(name, scale, network.batch)
        self.network = network
        self._maps = ["parsing"] * ("parsing" in network.outputs[1:])

    def _compute(self, lq: np.ndarray, skin: bool) -> tuple[np.ndarray, np.ndarray | None]:
        sr, *maps = self.network.run(lq, self.network.outputs[:1] + (self._maps if skin else []))
        return sr, maps[0].mean(1) if maps else None


def check_device(device: str) -> None:
    """Raises :class:`UsageError` unless torch can use the device."""
    try:
        torch.zeros(1, device=device).item()  # `meta` has shapes alone
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"--device: '{device}' cannot be used here ({reason}); cpu always can") from error
