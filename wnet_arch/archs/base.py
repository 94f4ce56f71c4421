"""The contract every network keeps, and the one place where networks are registered.

A network takes a low-resolution face ``lq`` (B, 3, h, w), float RGB in [0, 1], and returns the face enlarged ``scale``
times, (B, 3, scale * h, scale * w), same range, not clamped. Whatever a published network wants instead (an enlarged
input, another value range, space-to-depth) happens inside :meth:`FaceSRNetwork.super_resolve`; the published network itself,
without that wrapping, is the attribute ``trunk``.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import nn

from wnet_arch.archs.ops.bicubic import enlarge
from wnet_arch.errors import NetworkError, did_you_mean

__all__ = [
    "NETWORKS", "TWINS", "FaceSRNetwork", "FaceSROutput", "build_network", "create_network", "enlarge", "list_networks",
    "register_discriminator", "register_network", "register_with_framework",
]  # fmt: skip

NETWORKS: dict[str, type[FaceSRNetwork]] = {}
#: BasicSR has networks of these names too; its option files know ours as NAME_face.
TWINS = ("EDSR",)
#: Discriminators, which only BasicSR's option files name.
_DISCRIMINATORS: list[type[nn.Module]] = []
#: BasicSR's registry once it is imported, see :mod:`wnet_arch.registration`.
_framework_registry = None


class FaceSROutput(NamedTuple):
    """What ``net(lq, return_aux=True)`` gives for a network without priors. ``sr``: (B, 3, H, W)."""

    sr: torch.Tensor


class FaceSRNetwork(nn.Module, ABC):
    """Base of all networks: checks the input, then calls :meth:`super_resolve`, which a network defines.

    Class attributes:
        scales: the scales the network exists for.
        size_multiple: the side of the *output* must be a multiple of this (128 is one of all).
    """

    scales: tuple[int, ...] = (4, 8)
    size_multiple: int = 1
    trunk: nn.Module

    def __init__(self, scale: int):
        super().__init__()
        if type(scale) is not int or scale not in self.scales:
            *some, last = (f"x{known}" for known in self.scales)
            known = f"{', '.join(some)} and {last}" if some else last
            raise NetworkError(f"{type(self).__name__} has no scale {scale!r}; it has {known}")
        self.scale = scale

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if "restore" in vars(cls) and "super_resolve" not in vars(cls):  # the older name; networks of other packages have it
            warnings.warn(f"{cls.__name__}.restore is called super_resolve now: rename the method", FutureWarning, stacklevel=2)
            cls.super_resolve = vars(cls)["restore"]  # type: ignore[method-assign]  # the class is being made

    @abstractmethod
    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor | tuple:
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
        out = self.super_resolve(lq)
        if isinstance(out, tuple):
            return out if return_aux else out[0]
        return FaceSROutput(out) if return_aux else out

    def check_input(self, lq: torch.Tensor) -> None:
        """Raises :class:`NetworkError`, naming the network and what it accepts, unless ``lq`` can be processed."""
        name = type(self).__name__
        if not isinstance(lq, torch.Tensor):
            raise NetworkError(f"{name} takes a tensor (B, 3, h, w), not {type(lq).__name__}")
        if lq.ndim != 4 or lq.shape[1] != 3 or lq.shape[0] == 0:
            raise NetworkError(f"{name} takes RGB batches of shape (B, 3, h, w), B at least 1, not {tuple(lq.shape)}")
        if not lq.is_floating_point():
            raise NetworkError(f"{name} takes float images in [0, 1], not {lq.dtype}; divide 8-bit images by 255")
        own = next(self.parameters(), lq).dtype
        if own.is_floating_point and lq.dtype != own and not (lq.is_meta or torch.is_autocast_enabled(lq.device.type)):
            raise NetworkError(f"{name} has weights of {own} and takes images of that type, not {lq.dtype}: lq.to({own})")
        height, width = (side * self.scale for side in lq.shape[-2:])
        if min(height, width) == 0 or height % self.size_multiple or width % self.size_multiple:
            raise NetworkError(
                f"{name} x{self.scale} makes images whose sides are multiples of {self.size_multiple}; "
                f"an input of {lq.shape[-1]}x{lq.shape[-2]} would give {width}x{height}"
            )


def register_network(cls: type[FaceSRNetwork]) -> type[FaceSRNetwork]:
    """Class decorator: makes a network known to :func:`create_network` and to BasicSR's YAML options (``type: NAME``).

    Where BasicSR has a network of that name already (EDSR), YAML finds ours as ``NAME_face``.
    """
    name = cls.__name__
    if name in NETWORKS:
        raise NetworkError(f"two networks are called {name}: {NETWORKS[name].__module__} and {cls.__module__}")
    NETWORKS[name] = cls
    if _framework_registry is not None:
        _register_with(_framework_registry, cls)
    return cls


def register_discriminator(cls: type[nn.Module]) -> type[nn.Module]:
    """Class decorator: makes a discriminator known to BasicSR's YAML options (``network_d``)."""
    _DISCRIMINATORS.append(cls)
    if _framework_registry is not None:
        _register_with(_framework_registry, cls)
    return cls


def register_with_framework() -> None:
    """Puts all networks into BasicSR's registry, now and whenever another one is defined. BasicSR must be imported."""
    global _framework_registry
    from basicsr.utils.registry import ARCH_REGISTRY

    if _framework_registry is None:
        _framework_registry = ARCH_REGISTRY
        for cls in (*NETWORKS.values(), *_DISCRIMINATORS):
            _register_with(ARCH_REGISTRY, cls)


def _register_with(registry, cls: type[nn.Module]) -> None:
    registry.register(cls, suffix="face" if cls.__name__ in registry else None)


def list_networks() -> list[str]:
    """Names that :func:`create_network` takes."""
    return sorted(NETWORKS)


def create_network(name: str, scale: int = 8, **options) -> FaceSRNetwork:
    """Builds a network by name.

    Args:
        name: one of :func:`list_networks`.
        scale: one of those that the network's class has, ``scales``: 4 or 8 of all.
        **options: the network's own options, see its class.

    Raises:
        NetworkError: unknown name, scale, option or value.
    """
    if not isinstance(name, str) or name not in NETWORKS:
        raise NetworkError(f"no network is called {name!r}" + did_you_mean(str(name), NETWORKS))
    cls = NETWORKS[name]
    known = [p for p in inspect.signature(cls.__init__).parameters if p not in ("self", "scale")]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) if known else "; it has none"
            raise NetworkError(f"{name} has no option '{option}'{hint}")
    return cls(scale=scale, **options)


def build_network(block: dict) -> nn.Module:
    """Builds the network of an option block ``network_g``: ``type``, which may be any name in BasicSR's registry, and options.

    A network of this package is built without importing BasicSR. No log message is written.
    """
    options = copy.deepcopy(block)
    own = [name for name, cls in NETWORKS.items() if cls.__module__.startswith(__package__)]
    for name in own:
        if options["type"] == (f"{name}_face" if name in TWINS else name):
            del options["type"]
            return NETWORKS[name](**options)
    from basicsr import archs

    from wnet_arch.compat import quiet_logger

    with quiet_logger():
        return archs.build_network(options)
