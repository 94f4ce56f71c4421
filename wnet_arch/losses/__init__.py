"""Training losses; importing this package registers them with BasicSR."""

from __future__ import annotations

import copy
import inspect

import basicsr.losses
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from wnet_arch.losses.gan_loss import NoisyLabelGANLoss, RelativisticHingeGANLoss
from wnet_arch.losses.perceptual import VGGPerceptualLoss
from wnet_arch.losses.prior_losses import DICLoss, FishFSRNetLoss, FSRNetLoss, SFMNetLoss
from wnet_arch.losses.wipa_loss import SphereFaceIdentityLoss, WIPAWaveletLoss
from wnet_arch.losses.wnet_loss import WNetLoss


def build_loss(options: dict, scale: int | None = None) -> nn.Module:
    """Builds the loss of an option block (``type`` and its arguments), which stays as it was.

    A loss with an argument ``scale`` gets the run's scale unless the block sets one.
    """
    options = copy.deepcopy(dict(options))
    if scale and "scale" in inspect.signature(LOSS_REGISTRY.get(options["type"]).__init__).parameters:
        options.setdefault("scale", scale)
    return basicsr.losses.build_loss(options)


__all__ = [
    "DICLoss",
    "FSRNetLoss",
    "FishFSRNetLoss",
    "NoisyLabelGANLoss",
    "RelativisticHingeGANLoss",
    "SFMNetLoss",
    "SphereFaceIdentityLoss",
    "VGGPerceptualLoss",
    "WIPAWaveletLoss",
    "WNetLoss",
    "build_loss",
]
