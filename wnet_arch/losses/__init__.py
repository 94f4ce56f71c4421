"""Training losses; importing this package registers them with BasicSR."""

from wnet_arch.compat import check_framework

check_framework()  # first: BasicSR, when imported, joins this package to itself

from wnet_arch.losses.building import build_loss
from wnet_arch.losses.gan_loss import NoisyLabelGANLoss, RelativisticHingeGANLoss
from wnet_arch.losses.perceptual import VGGPerceptualLoss
from wnet_arch.losses.prior_losses import DICLoss, FishFSRNetLoss, FSRNetLoss, SFMNetLoss
from wnet_arch.losses.wipa_loss import SphereFaceIdentityLoss, WIPAWaveletLoss
from wnet_arch.losses.wnet_loss import WNetLoss

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
