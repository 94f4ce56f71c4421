"""The networks that restore faces: shipped ones by name, ``Bicubic``, and weights of the user's, one for each scale at most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wnet_arch.archs.base import list_networks
from wnet_arch.errors import UsageError, WeightsError, did_you_mean
from wnet_arch.inference import entries, sources
from wnet_arch.inference.runners import FaceResult, check_device
from wnet_arch.restore.frames import OUTPUT
from wnet_arch.weights import shipped

#: The shipped network that is used unless another is named.
DEFAULT = "wnet"
#: Shipped networks for each purpose; at a scale that none of them has, :data:`DEFAULT` is used.
QUALITIES = {"faithful": (DEFAULT,), "real": ("wnet_lite_real", "wnet_real"), "sharp": ("wnet_lite_sharp",)}
#: A quality of its own: ``real`` for photos whose look says that they are degraded, where such a network ships; else ``faithful``.
AUTO = "auto"
BICUBIC = "Bicubic"
SCALES = (1, 2, 4, 8)
_TRAIN = "train one (README, 'Train and compare') and give its run or weights file: --weights experiments/wnet_x8"


class FaceNetwork:
    """A network at one scale, ready to run.

    Attributes:
        name, scale: of the network.
        side: of its input in pixels.
        fingerprint: changes with whatever decides about its output.
        degraded: whether it was trained on faces as photos from life have them, resampled to its input.
        estimates: whether it estimates details; ``False`` for plain enlargement.

    Raises:
        WeightsError: an ONNX file is for faces of another size.
    """

    def __init__(self, source: sources.Computed, device: str):
        self.name, self.scale, self.fingerprint, self.device = source.name, source.scale, source.fingerprint, device
        self.side = OUTPUT // source.scale
        self.provenance = source.provenance
        self.degraded = source.provenance.degraded
        self.estimates = source.name != BICUBIC
        if isinstance(source, sources.Onnx) and source.fixed not in (None, (self.side, self.side)):
            size = "x".join(map(str, source.fixed[::-1]))
            raise WeightsError(f"{source.path} takes faces of {size} pixels; x{self.scale} needs {self.side}x{self.side}")
        self.runner = source.open(device, torch.get_num_threads())

    def run(self, faces: Sequence[np.ndarray]) -> list[FaceResult]:
        """Super-resolves faces, uint8 (side, side, 3) each, with the network's skin maps; see :meth:`Runner.run`."""
        return self.runner.run(faces, skin=True)


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
    found: list[sources.Computed]
    if network == BICUBIC:
        found = [sources.bicubic(scale) for scale in SCALES if scale > 1]
    else:
        chosen = _shipped_files(network) if network else [] if weights else _of_quality(quality or "faithful")
        paths = list(weights) or [str(path) for path in chosen]
        found = [entries.open_one(path, None, device) for path in paths]
    opened: dict[int, FaceNetwork] = {}
    for source in found:
        if source.scale in opened:
            raise UsageError(f"--weights: {opened[source.scale].name} and {source.name} are both networks for x{source.scale}")
        opened[source.scale] = FaceNetwork(source, device)
    return opened


def ships(quality: str) -> bool:
    """Whether a network for this quality, one of :data:`QUALITIES`, ships at any scale."""
    return any(is_for(quality, name) for name in shipped.ours())


def is_for(quality: str, name: str) -> bool:
    """Whether a shipped network is one for this quality, one of :data:`QUALITIES`, and does not just stand in for one."""
    return name.rpartition("_x")[0] in QUALITIES[quality]


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
    there, wanted = shipped.ours(), (*QUALITIES[quality], DEFAULT)
    if not ships(quality):
        shipped.matching(wanted[0])  # says which package brings it, where that is known
        raise WeightsError(f"--quality {quality}: no network for it ships yet; --weights takes one of your own")
    found = [next((name for base in wanted if (name := f"{base}_x{scale}") in there), None) for scale in SCALES]
    return [shipped.path(name) for name in found if name]


def enlarge_face(lq: np.ndarray) -> np.ndarray:
    """An LR face enlarged to the network's output size by Pillow's bicubic filter: uint8 (h, h, 3) to (128, 128, 3)."""
    return np.array(Image.fromarray(lq).resize((OUTPUT, OUTPUT), Image.Resampling.BICUBIC))
