"""The networks that restore faces: shipped ones by name, ``Bicubic``, and weights of the user's, one for each scale at most."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from wnet_arch.archs.base import FaceSRNetwork, list_networks
from wnet_arch.benchmark import networks as entries
from wnet_arch.benchmark import sources
from wnet_arch.errors import DataError, UsageError, WeightsError, did_you_mean
from wnet_arch.onnx_network import OnnxNetwork
from wnet_arch.restore.frames import OUTPUT
from wnet_arch.weights import shipped

#: The shipped network that is used unless another is named.
DEFAULT = "wnet_lite"
#: Shipped networks for each purpose; where the first does not exist at a scale, the next one is used.
QUALITIES = {"faithful": (DEFAULT,), "real": ("wnet_lite_real", DEFAULT), "sharp": ("wnet_lite_sharp", DEFAULT)}
#: A quality of its own: ``real`` for photos whose look says that they are degraded, where such a network ships; else ``faithful``.
AUTO = "auto"
BICUBIC = "Bicubic"
SCALES = (4, 8)
_TRAIN = "train one (README, 'Train') and give its run or weights file: --weights experiments/wnet_x8"


class FaceResult(NamedTuple):
    """``sr``: uint8 (128, 128, 3). ``skin``: the network's own estimate of the skin, float32 (128, 128), about 0 to 1, if any."""

    sr: np.ndarray
    skin: np.ndarray | None


class FaceNetwork(ABC):
    """A network at one scale, ready to run.

    Attributes:
        name, scale: of the network.
        side: of its input in pixels.
        fingerprint: changes with whatever decides about its output.
        degraded: whether it was trained on faces as photos from life have them, resampled to its input.
        estimates: whether it estimates details; ``False`` for plain enlargement.
    """

    def __init__(self, source: sources.Source, device: str):
        self.name, self.scale, self.fingerprint, self.device = source.name, source.scale, source.fingerprint, device
        self.side = OUTPUT // source.scale
        self.provenance = source.provenance
        self.degraded = source.provenance.degraded
        self.estimates = source.name != BICUBIC

    @abstractmethod
    def run(self, faces: Sequence[np.ndarray]) -> list[FaceResult]:
        """Super-resolves a batch of faces, uint8 (side, side, 3) each."""


class TorchFaceNetwork(FaceNetwork):
    """A network of this package, or one that a plugin has registered with BasicSR."""

    def __init__(self, source: sources.Network, device: str):
        super().__init__(source, device)
        self.net = source.build().to(device)

    def run(self, faces: Sequence[np.ndarray]) -> list[FaceResult]:
        """See :class:`FaceNetwork`. Raises :class:`DataError` where values are no numbers."""
        batch = torch.from_numpy(np.stack(faces)).to(self.device).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            out = self.net(batch, return_aux=True) if isinstance(self.net, FaceSRNetwork) else self.net(batch)
        sr = out[0] if isinstance(out, tuple) else out
        return _results(self, sr.float().cpu().numpy(), _skin(getattr(out, "parsing", None)))


class OnnxFaceNetwork(FaceNetwork):
    """An ONNX file. Its first output is the face; one called ``parsing``, of the same size, is the network's skin map.

    No network of this package is built, or need be known, to run it.

    Raises:
        WeightsError: the file is for faces of another size.
    """

    def __init__(self, source: sources.Onnx, device: str):
        super().__init__(source, device)
        if source.fixed not in (None, (self.side, self.side)):
            size = "x".join(map(str, source.fixed[::-1]))
            raise WeightsError(f"{source.path} takes faces of {size} pixels; x{self.scale} needs {self.side}x{self.side}")
        self.net = OnnxNetwork(source.path, device, torch.get_num_threads())
        self.outputs = self.net.outputs[:1] + ["parsing"] * ("parsing" in self.net.outputs[1:])

    def run(self, faces: Sequence[np.ndarray]) -> list[FaceResult]:
        """See :class:`FaceNetwork`. Raises :class:`WeightsError` where it cannot be run."""
        images = np.stack(faces).transpose(0, 3, 1, 2).astype(np.float32) / 255
        sr, *parsing = self.net.run(images, self.outputs)
        return _results(self, sr, _skin(torch.from_numpy(parsing[0])) if parsing else None)


def open_networks(
    network: str | None, weights: Sequence[str], device: str = "cpu", quality: str | None = None
) -> dict[int, FaceNetwork]:
    """The networks by their scales.

    Args:
        network: ``Bicubic``, or the name of a shipped network, with or without its scale (``wnet_lite``, ``wnet_lite_x8``);
            ``None`` takes the weights or else :data:`DEFAULT`.
        weights: runs, ``.pth``, ``.safetensors`` or ``.onnx`` files, as ``wnet benchmark --networks`` takes them.
        device: where they run.
        quality: instead of both, one of :data:`QUALITIES`.

    Raises:
        UsageError: two of these are given, two networks have one scale, or a name is unknown.
        WeightsError: weights are missing, damaged, of another network, or in a package that is not installed; or none ship and none
            are given.
    """
    check_device(device)
    if network and weights:
        raise UsageError("--network names a shipped network, --weights gives your own; use one of them")
    if quality and (network or weights):
        raise UsageError("--quality chooses among the shipped networks; leave it out where you name one, or give your own")
    if network == BICUBIC:
        found = [sources.bicubic(scale) for scale in SCALES]
    else:
        chosen = _shipped_files(network) if network else [] if weights else _of_quality(quality or "faithful")
        paths = list(weights) or [str(path) for path in chosen]
        found = [entries.open_one(path, None, device) for path in paths]
    opened: dict[int, FaceNetwork] = {}
    for source in found:
        if source.scale in opened:
            raise UsageError(f"--weights: {opened[source.scale].name} and {source.name} are both networks for x{source.scale}")
        opened[source.scale] = (OnnxFaceNetwork if source.kind == "onnx" else TorchFaceNetwork)(source, device)
    return opened


def ships(quality: str) -> bool:
    """Whether a network for this quality, one of :data:`QUALITIES`, ships at any scale."""
    return any(name.startswith(f"{QUALITIES[quality][0]}_x") for name in shipped.ours())


def check_device(device: str) -> None:
    """Raises :class:`UsageError` unless torch can use the device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"--device: '{device}' cannot be used here ({reason}); cpu always can") from error


def _shipped_files(name: str) -> list[Path]:
    wanted = shipped.matching(name)
    if wanted:
        return [shipped.path(known) for known in wanted]
    if name in list_networks():
        raise WeightsError(f"no weights of {name} ship with this package: {_TRAIN}")
    raise UsageError(f"--network: no shipped network is called '{name}'" + shipped.hint(name, BICUBIC))


def _of_quality(quality: str) -> list[Path]:
    if quality not in QUALITIES:
        raise UsageError(f"--quality: '{quality}' is none{did_you_mean(quality, QUALITIES)}")
    there, wanted = shipped.ours(), QUALITIES[quality]
    if not ships(quality):
        raise WeightsError(f"--quality {quality}: no network for it ships yet; --weights takes one of your own")
    found = [next((name for base in wanted if (name := f"{base}_x{scale}") in there), None) for scale in SCALES]
    return [shipped.path(name) for name in found if name]


def _skin(parsing: torch.Tensor | None) -> np.ndarray | None:
    """The skin map of a network that estimates one, (B, C, H, W), at its output's size: float32 (B, 128, 128)."""
    if parsing is None or parsing.shape[-2:] != (OUTPUT, OUTPUT):
        return None
    return parsing.float().mean(1).cpu().numpy()


def _results(network: FaceNetwork, sr: np.ndarray, skin: np.ndarray | None) -> list[FaceResult]:
    if sr.shape[1:] != (3, OUTPUT, OUTPUT):
        raise WeightsError(f"{network.name} x{network.scale} makes faces of {sr.shape[1:]}; (3, {OUTPUT}, {OUTPUT}) was expected")
    if not np.isfinite(sr).all():
        raise DataError(f"{network.name} x{network.scale} makes values that are no numbers (NaN or infinite)")
    faces = np.rint(sr.clip(0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return [FaceResult(np.ascontiguousarray(face), None if skin is None else skin[i]) for i, face in enumerate(faces)]


def enlarge_face(lq: np.ndarray) -> np.ndarray:
    """An LR face enlarged to the network's output size by Pillow's bicubic filter: uint8 (h, h, 3) to (128, 128, 3)."""
    return np.array(Image.fromarray(lq).resize((OUTPUT, OUTPUT), Image.Resampling.BICUBIC))
