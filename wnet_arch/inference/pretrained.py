"""Networks with the weights that are installed: ``wnet_arch.list_pretrained()``, ``wnet_arch.load_pretrained("wnet_lite_x8")``."""

from __future__ import annotations

from torch import nn

from wnet_arch.archs.base import build_network
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.weights import manager, metadata, packages, shipped
from wnet_arch.weights.checkpoint import load_into


def list_pretrained() -> list[str]:
    """Names that :func:`load_pretrained` takes: ``NETWORK_xSCALE``, of this package and of others that bring weights.

    A package that is damaged is left out, which is said once a process.
    """
    packages.note_faults()
    return shipped.names()


def load_pretrained(name: str, device: str = "cpu") -> nn.Module:
    """A network with its weights, in eval mode.

    Args:
        name: one of :func:`list_pretrained`; its scale is part of it.
        device: where it is to be: ``cpu``, ``cuda``, ``cuda:1``.

    Returns:
        Takes RGB in [0, 1], (B, 3, 128/scale, 128/scale), gives (B, 3, 128, 128). ``provenance`` tells training set, iterations
        and seed; its model card is ``NAME.md`` beside the weights.

    Raises:
        WeightsError: unknown name (the nearest is named); of a package that is not installed (with the command that brings it); or
            the file is missing, damaged, or of another configuration.
        UsageError: torch cannot use the device.
    """
    path = shipped.path(name)
    recipe = metadata.read(path)
    if recipe is None:
        raise WeightsError(f"{path} does not say which network it is of: install {manager.entry(name).distribution} again")
    net = build_network(recipe.network)
    load_into(net, str(path))
    net.provenance = recipe.provenance  # type: ignore[assignment]  # neither weights nor a module: for whoever asks
    try:
        return net.eval().to(device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"device '{device}' cannot be used here ({reason}); cpu always can") from error
