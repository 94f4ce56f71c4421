"""Adversarial losses that the framework's ``GANLoss`` does not have."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from wnet_arch.losses import checks


@LOSS_REGISTRY.register()
class NoisyLabelGANLoss(nn.Module):
    """Binary cross-entropy with random labels for the discriminator, as WIPA trains (SPIC 2022).

    With t going from 0 to 1 over the training, the label of each real image is uniform in [0.8 + 0.1 t, 1], that of each
    super-resolved one in [0, 0.2 - 0.1 t]. The generator's label is 1. Whether the published labels are drawn for an image
    or for a batch is not known; here for an image. The interface is that of the framework's ``GANLoss``, and a model which
    sets ``progress`` makes t move.

    Args:
        loss_weight: weight of the generator's term; the discriminator's is 1.

    Attributes:
        progress: t; 0 unless set.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        checks.weights("NoisyLabelGANLoss", loss_weight=loss_weight)
        self.loss_weight = loss_weight
        self.progress = 0.0

    def labels(self, logits: torch.Tensor, real: bool) -> torch.Tensor:
        """Random labels in the shape of ``logits`` (B, ...), equal within an image."""
        noise = torch.rand(len(logits), *[1] * (logits.ndim - 1), device=logits.device)
        noise = noise * (0.2 - 0.1 * min(max(self.progress, 0.0), 1.0))
        return (1 - noise if real else noise).expand_as(logits)

    def forward(self, logits: torch.Tensor, target_is_real: bool, is_disc: bool = False) -> torch.Tensor:
        """Scalar, from the discriminator's logits (B, ...) of real or of super-resolved images."""
        logits = logits.float()
        if is_disc:
            return F.binary_cross_entropy_with_logits(logits, self.labels(logits, target_is_real))
        return self.loss_weight * F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(target_is_real)))


@LOSS_REGISTRY.register()
class RelativisticHingeGANLoss(nn.Module):
    """Relativistic average hinge loss (Jolicoeur-Martineau, ICLR 2019), as MRRNet trains (ICANN 2022).

    Each side is judged against the mean of the other: with r and f the outputs for real and super-resolved images,
    d_r = r - mean(f) and d_f = f - mean(r), the discriminator minimises (mean(max(0, 1 - d_r)) + mean(max(0, 1 + d_f))) / 2
    and the generator the same with both signs turned. Needs :class:`~wnet_arch.models.face_gan_model.FaceGANModel`: models
    of the framework hand over one side at a time.

    Args:
        loss_weight: weight of the generator's term; the discriminator's is 1.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        checks.weights("RelativisticHingeGANLoss", loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two halves, for real and for super-resolved images; their sum is minimised. Outputs of equal shape."""
        return self._halves(real.float(), fake.float())

    def generator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Scalar; super-resolved images are to look more real than real ones."""
        return self.loss_weight * checks.total(self._halves(fake.float(), real.float()))

    @staticmethod
    def _halves(high: torch.Tensor, low: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cost of ``high`` not being 1 above the mean of ``low``, and of ``low`` not being 1 below that of ``high``."""
        return F.relu(1 - (high - low.mean())).mean() / 2, F.relu(1 + (low - high.mean())).mean() / 2
