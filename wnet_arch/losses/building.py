"""Builds a loss of an option block."""

from __future__ import annotations

import copy
import inspect

from torch import nn


def build_loss(options: dict, scale: int | None = None) -> nn.Module:
    """Builds the loss of an option block (``type`` and its arguments), which stays as it was.

    A loss with an argument ``scale`` gets the run's scale unless the block sets one.
    """
    import basicsr.losses
    from basicsr.utils.registry import LOSS_REGISTRY

    options = copy.deepcopy(dict(options))
    if scale and "scale" in inspect.signature(LOSS_REGISTRY.get(options["type"]).__init__).parameters:
        options.setdefault("scale", scale)
    return basicsr.losses.build_loss(options)
