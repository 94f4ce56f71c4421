"""The network that is exported: where it comes from, what is known of it, and its outputs as a plain tuple."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork
from wnet_arch.errors import UsageError
from wnet_arch.inference import entries
from wnet_arch.inference.provenance import Provenance
from wnet_arch.inference.sources import MADE_BY, Network
from wnet_arch.restore.frames import OUTPUT
from wnet_arch.version import __version__
from wnet_arch.weights import metadata, shipped


class Outputs(nn.Module):
    """A network as every exported file shows it.

    ``forward`` takes ``lq``, float32 (B, 3, side, side), RGB in [0, 1], and gives a tuple: ``sr``, (B, 3, 128, 128), same range,
    not clamped; and ``parsing``, (B, 3, 128, 128), where the network estimates a skin map of that size.

    Attributes:
        side: of the input in pixels.
        names: of the outputs.

    Raises:
        UsageError: the network does not make faces of that size.
    """

    def __init__(self, net: nn.Module, side: int):
        super().__init__()
        self.net, self.side = net.eval(), side
        self.names: tuple[str, ...] = ("sr", "parsing")
        with torch.no_grad():
            sr, parsing = self._both(torch.zeros(1, 3, side, side))
        if tuple(sr.shape) != (1, 3, OUTPUT, OUTPUT):
            raise UsageError(
                f"the network makes {tuple(sr.shape)} of a face of {side}x{side}; (1, 3, {OUTPUT}, {OUTPUT}) is wanted"
            )
        if parsing is None or parsing.shape[-2:] != sr.shape[-2:]:
            self.names = ("sr",)

    def _both(self, lq: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        out = self.net(lq, return_aux=True) if isinstance(self.net, FaceSRNetwork) else self.net(lq)
        return (out[0], getattr(out, "parsing", None)) if isinstance(out, tuple) else (out, None)

    def forward(self, lq: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``sr`` (B, 3, 128, 128) of LR faces (B, 3, h, w), and where :attr:`names` has it the estimated map, as large."""
        sr, parsing = self._both(lq)
        return (sr,) if parsing is None or len(self.names) == 1 else (sr, parsing)


@dataclass(frozen=True)
class Subject:
    """A network with its weights.

    Attributes:
        name: what reports call it.
        scale: its factor.
        block: how to build it: ``network_g`` of an option file.
        provenance: of its weights.
        path: their file.
        outputs: the network itself.
        texts: metadata of that file.
    """

    name: str
    scale: int
    block: dict
    provenance: Provenance
    path: str
    outputs: Outputs
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``WNetLite x8``."""
        return f"{self.block.get('type')} x{self.scale}"

    def about(self, precision: str) -> dict[str, str]:
        """What every file says of itself, as texts: what is known of the weights, terms included, and how to build the network."""
        known = {
            **self.texts, "name": self.name, "network_g": json.dumps(self.block, sort_keys=True), "scale": self.scale,
            "precision": precision, "training_set": self.provenance.training_set, "iterations": self.provenance.iterations,
            "seed": self.provenance.seed, metadata.DEGRADATION: self._degradation(), "made_by": f"{MADE_BY} {__version__}",
        }  # fmt: skip
        return {key: str(value) for key, value in known.items() if value is not None}

    def _degradation(self) -> str | None:
        """Of a run, that there was any; of a weights file, which."""
        return self.texts.get(metadata.DEGRADATION, "{}") if self.provenance.degraded else None


def open_subject(network: str) -> Subject:
    """Opens what ``wnet export`` is given: a shipped network by its name, or what ``wnet benchmark --networks`` takes for one.

    Raises:
        UsageError: it is no network with weights of ours, or its name stands for several.
        WeightsError: the weights are missing, damaged, or do not fit.
    """
    if network == "Bicubic":
        raise UsageError("Bicubic has no weights, so there is nothing to export")
    named = shipped.matching(network)
    if len(named) > 1:
        raise UsageError(f"{network} ships at several scales; say {' or '.join(named)}")
    source = entries.open_one(named[0] if named else network, None)
    if not isinstance(source, Network):
        what = "an ONNX file" if source.kind == "onnx" else "no weights file"
        raise UsageError(f"{network} is {what}; name a run, .pth or .safetensors")
    outputs = Outputs(source.build(), OUTPUT // source.scale)
    name = named[0] if named else source.name
    return Subject(name, source.scale, source.block, source.provenance, source.path, outputs, _texts(source.path))


def _texts(weights: str) -> dict[str, str]:
    """What a weights file says of itself."""
    return metadata.texts(Path(weights)) if weights.endswith(".safetensors") else {}
