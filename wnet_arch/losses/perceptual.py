"""Distance of images in VGG-19's features, for every method that asks for one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from wnet_arch.archs.layers import full_precision
from wnet_arch.errors import UsageError
from wnet_arch.losses import checks
from wnet_arch.losses.vgg import VGG19Features

CRITERIA = {"l1": F.l1_loss, "l2": F.mse_loss}


@LOSS_REGISTRY.register()
class VGGPerceptualLoss(nn.Module):
    """``loss_weight * sum over layers of weight * mean(|a - b|)``, or of the squared difference.

    Stands in for the framework's ``PerceptualLoss``, which fetches torchvision's weights while it is built, cannot enlarge
    the images, and in release 1.4.2 has no working ``l2``.

    Args:
        vgg: weights by name or path, see :class:`~wnet_arch.losses.vgg.VGG19Features`. The features of ``vgg19`` and
            ``vgg19-normalised`` differ in scale, so a ``loss_weight`` belongs to one of them.
        layer_weights: layer names, such as ``conv5_4`` (before ReLU) or ``relu3_1``, to weights.
        criterion: ``"l1"`` or ``"l2"``, each a mean over everything.
        loss_weight: weight of the sum.
        resize: enlarge both images bilinearly to this side first; ``None`` leaves them.

    Shape:
        two images (B, 3, H, W), RGB in [0, 1] -> (scalar float32, None); the second is the style term that models of the
        framework expect there. No gradient flows into the second image.

    Raises:
        UsageError: no layer, a value outside the ones named above, or batches of another or of different shapes.
        WeightsError: the VGG weights are not to be had.
    """

    def __init__(
        self,
        vgg: str = "vgg19-normalised",
        layer_weights: dict[str, float] | None = None,
        criterion: str = "l1",
        loss_weight: float = 1.0,
        resize: int | None = None,
    ):
        super().__init__()
        checks.weights("VGGPerceptualLoss", loss_weight=loss_weight)
        if criterion not in CRITERIA:
            raise UsageError(f"VGGPerceptualLoss: criterion is 'l1' or 'l2', not {criterion!r}")
        if resize is not None and (isinstance(resize, bool) or not isinstance(resize, int) or resize < 16):
            raise UsageError(f"VGGPerceptualLoss: resize is a side of at least 16 pixels, or nothing, not {resize!r}")
        layer_weights = {"conv5_4": 1.0} if layer_weights is None else layer_weights
        self.layer_weights = checks.named_weights("VGGPerceptualLoss", "layer_weights", layer_weights, "layer")
        self.distance, self.loss_weight, self.resize = CRITERIA[criterion], loss_weight, resize
        self.vgg = VGG19Features(vgg, tuple(self.layer_weights))

    def forward(self, x: torch.Tensor, gt: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The loss of images (B, 3, H, W) in [0, 1] as a scalar, and ``None``: the framework wants a style term, too.

        Raises:
            UsageError: the images differ in shape, or are none.
        """
        checks.images("VGGPerceptualLoss", x=x, gt=gt)
        with full_precision(x.device):
            features = self.features(x)
            with torch.no_grad():
                wanted = self.features(gt)
            terms = [weight * self.distance(features[name], wanted[name]) for name, weight in self.layer_weights.items()]
            return self.loss_weight * checks.total(terms), None

    def features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Layer names to features of (B, 3, H, W), enlarged first if ``resize`` says so."""
        image = image.float()
        if self.resize:
            image = F.interpolate(image, (self.resize, self.resize), mode="bilinear", align_corners=False)
        return self.vgg(image)
