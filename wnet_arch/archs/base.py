"""The contract every network keeps, and the one place where networks are registered.

A network takes a low-resolution face ``lq`` (B, 3, h, w), float RGB in [0, 1], and returns the face enlarged ``scale``
times, (B, 3, scale * h, scale * w), same range, not clamped. Whatever a published network wants instead (an enlarged
input, another value range, space-to-depth) happens inside :meth:`FaceSRNetwork.restore`; the published network itself,
without that wrapping, is the attribute ``trunk``.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from wnet_arch.archs.enlarging import enlarge
from wnet_arch.errors import NetworkError, did_you_mean

__all__ = ["NETWORKS", "FaceSRNetwork", "FaceSROutput", "create_network", "enlarge", "list_networks", "register_network"]

NETWORKS: dict[str, type[FaceSRNetwork]] = {}


class FaceSROutput(NamedTuple):
    """What ``net(lq, return_aux=True)`` gives for a network without priors. ``sr``: (B, 3, H, W)."""

    sr: torch.Tensor


class FaceSRNetwork(nn.Module, ABC):
    """Base of all networks: checks the input, then calls :meth:`restore`, which a network defines.

    Class attributes:
        scales: the scales the network exists for.
        size_multiple: the side of the *output* must be a multiple of this (128 is one of all).
    """

    scales: tuple[int, ...] = (4, 8)
    size_multiple: int = 1
    trunk: nn.Module

    def __init__(self, scale: int):
        super().__init__()
        if scale not in self.scales:
            raise NetworkError(f"{type(self).__name__} has no scale {scale!r}; it has {self._names(self.scales)}")
        self.scale = scale

    @abstractmethod
    def restore(self, lq: torch.Tensor) -> torch.Tensor | tuple:
        """Super-resolves a checked batch. Returns ``sr``, or a named tuple whose first field is ``sr``."""

    def forward(self, lq: torch.Tensor, return_aux: bool = False):
        """Super-resolves a batch of faces.

        Args:
            lq: (B, 3, h, w), float RGB in [0, 1]; ``scale * h`` and ``scale * w`` multiples of ``size_multiple``.
            return_aux: give the named tuple ``(sr, ...)`` with the network's priors instead of ``sr`` alone.

        Returns:
            ``sr`` (B, 3, scale * h, scale * w), or a named tuple whose first field it is.

        Raises:
            NetworkError: the input has another shape, size or dtype.
        """
        self.check_input(lq)
        out = self.restore(lq)
        if isinstance(out, tuple):
            return out if return_aux else out.sr
        return FaceSROutput(out) if return_aux else out

    def check_input(self, lq: torch.Tensor) -> None:
        """Raises :class:`NetworkError`, naming the network and what it accepts, unless ``lq`` can be processed."""
        name = type(self).__name__
        if lq.ndim != 4 or lq.shape[1] != 3:
            raise NetworkError(f"{name} takes RGB batches of shape (B, 3, h, w), not {tuple(lq.shape)}")
        if not lq.is_floating_point():
            raise NetworkError(f"{name} takes float images in [0, 1], not {lq.dtype}; divide 8-bit images by 255")
        height, width = (side * self.scale for side in lq.shape[-2:])
        if min(height, width) == 0 or height % self.size_multiple or width % self.size_multiple:
            raise NetworkError(
                f"{name} x{self.scale} makes images whose sides are multiples of {self.size_multiple}; "
                f"an input of {lq.shape[-1]}x{lq.shape[-2]} would give {width}x{height}"
            )

    @staticmethod
    def _names(scales: tuple[int, ...]) -> str:
        return " and ".join(f"x{s}" for s in scales)


def register_network(cls: type[FaceSRNetwork]) -> type[FaceSRNetwork]:
    """Class decorator: makes a network known to :func:`create_network` and to BasicSR's YAML options (``type: NAME``).

    Where BasicSR has a network of that name already (EDSR), YAML finds ours as ``NAME_face``.
    """
    name = cls.__name__
    if name in NETWORKS:
        raise NetworkError(f"two networks are called {name}: {NETWORKS[name].__module__} and {cls.__module__}")
    NETWORKS[name] = cls
    ARCH_REGISTRY.register(cls, suffix="face" if name in ARCH_REGISTRY else None)
    return cls


def list_networks() -> list[str]:
    """Names that :func:`create_network` takes."""
    return sorted(NETWORKS)


def create_network(name: str, scale: int = 8, **options) -> FaceSRNetwork:
    """Builds a network by name.

    Args:
        name: one of :func:`list_networks`.
        scale: 4 or 8.
        **options: the network's own options, see its class.

    Raises:
        NetworkError: unknown name, scale, option or value.
    """
    if name not in NETWORKS:
        raise NetworkError(f"no network is called '{name}'" + did_you_mean(name, NETWORKS))
    cls = NETWORKS[name]
    known = [p for p in inspect.signature(cls.__init__).parameters if p not in ("self", "scale")]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) if known else "; it has none"
            raise NetworkError(f"{name} has no option '{option}'{hint}")
    return cls(scale=scale, **options)
