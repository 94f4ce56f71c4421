"""W-Net's training loss, section 3.4, equations 24 to 29."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from wnet_arch.archs.layers import full_precision
from wnet_arch.errors import UsageError
from wnet_arch.faces.labels import COMPONENTS, SKIN, UNKNOWN
from wnet_arch.losses import checks
from wnet_arch.losses import vgg as vgg19
from wnet_arch.losses.grid_artifact import grid_artifact_loss
from wnet_arch.losses.shifting import random_crop
from wnet_arch.losses.vgg import VGG19Features


def skin_target(label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The binary parsing map of section 3.1, and where it is known.

    Args:
        label: (B, H, W) uint8, CelebAMask-HQ classes, 255 = unknown.

    Returns:
        target and known, both (B, 1, H, W) float32 of 0 and 1: skin is 1; components, hair and background are 0.
    """
    label = label[:, None]
    return (label == SKIN).float(), (label != UNKNOWN).float()


def component_masks(label: torch.Tensor) -> dict[str, torch.Tensor]:
    """Masks of eyes, brows, nose and mouth, each (B, 1, H, W) float32 of 0 and 1, from labels (B, H, W) uint8."""
    return {
        name: torch.stack([label == value for value in classes]).any(0)[:, None].float() for name, classes in COMPONENTS.items()
    }


def masked_mse(x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Squared error, mean over channels and the pixels of ``mask``, for each image; 0 where its mask is empty.

    Args:
        x, y: (B, C, H, W).
        mask: (B, 1, H, W) of 0 and 1.

    Returns:
        (B,).
    """
    error = ((x - y).square() * mask).sum(dim=(1, 2, 3))
    pixels = mask.sum(dim=(1, 2, 3)) * x.shape[1]
    return error / pixels.clamp(min=1)


@LOSS_REGISTRY.register()
class WNetLoss(nn.Module):
    """lambda_pixel L_mse + lambda_par L_parsing + lambda_key L_key (equation 29).

    Every term is the mean over the batch of a value computed for each image, so the loss of a batch is the mean of the
    losses of its images; an image without a map, or without a component, contributes 0 to that term.

    * L_mse (equation 24): squared error of the image, mean over channels and pixels.
    * L_parsing (equation 25): squared error of the three-channel map against the skin map repeated three times, over the
      pixels whose label is known.
    * L_key (equations 27, 28): for eyes, brows, nose and mouth, the squared error over the region (mean over its pixels;
      the paper does not say over what, and a mean over the image would all but remove small regions) plus the squared
      distance of VGG-19 features (equation 26) of the images masked by the region.

    Args:
        pixel_weight, parsing_weight, key_weight: lambdas of section 4.2: 1.0, 1.0, 0.5.
        parsing_target: ``"hr"`` compares the map at the network's grid. ``"lr"`` (section 4.2) compares the prediction,
            area-averaged to the LR grid, with the bicubically reduced and clipped skin map; it needs ``scale``.
        scale: 1, 2, 4 or 8, used by ``parsing_target: lr`` only.
        vgg: weights by name or path, see :class:`~wnet_arch.losses.vgg.VGG19Features`; ``None`` leaves out the perceptual
            part of L_key.
        layer_weights: weight of each VGG layer. The paper says "the k-th"; conv5_4 before ReLU is the framework's habit, and
            1 the weight equation 26 prints. The deepest features are large: see the option files for a balanced weight.
        perceptual_weight: weight of the perceptual part inside each component (1 in equation 27).
        pixel_criterion: ``"mse"`` as in equation 24, or ``"l1"``, which most networks of the field train with.
        masked: what a region's mask is put on: ``"images"``, as equation 26 says, which takes VGG-19 once for each region; or
            ``"features"``, of the whole images, whose squared distance is then averaged over the region: VGG-19 runs once.
        image_weight: weight of the same distance over the whole image, which the paper does not have: for training that is to
            look sharp everywhere.
        shift: rows and columns that are cut off at random sides before VGG-19, see :func:`~wnet_arch.losses.shifting.random_crop`.
        vgg_precision: see :class:`~wnet_arch.losses.vgg.VGG19Features`.
        grid_artifact_weight: weight of :func:`~wnet_arch.losses.grid_artifact.grid_artifact_loss`, for training against a
            discriminator. Sides are multiples of 32.
        component_weights: weight of each component's two terms inside the sum of equation 28, ``{"eyes": 2.0}`` for instance;
            those not named have 1, as all have in the paper ("equal weighting").
        component_mean: over what the squared error of a component is averaged (equation 27). ``"region"``: over its pixels.
            ``"image"``: over C H W of the whole image, as equation 24 reads where both images are masked; a region of a
            hundredth of the face then weighs a hundredth.

    Raises:
        UsageError: a value outside the ones named above.
        WeightsError: the VGG weights are not to be had.
    """

    #: Weights of the terms that need label maps.
    terms_with_maps = ("parsing_weight", "key_weight")

    def __init__(
        self,
        pixel_weight: float = 1.0,
        parsing_weight: float = 1.0,
        key_weight: float = 0.5,
        parsing_target: str = "hr",
        scale: int | None = None,
        vgg: str | None = "vgg19-normalised",
        layer_weights: dict[str, float] | None = None,
        perceptual_weight: float = 1.0,
        pixel_criterion: str = "mse",
        masked: str = "images",
        image_weight: float = 0.0,
        vgg_precision: str = "fp32",
        shift: int = 0,
        grid_artifact_weight: float = 0.0,
        component_weights: dict[str, float] | None = None,
        component_mean: str = "region",
    ):
        super().__init__()
        checks.weights(
            "WNetLoss", pixel_weight=pixel_weight, parsing_weight=parsing_weight, key_weight=key_weight,
            perceptual_weight=perceptual_weight, image_weight=image_weight, grid_artifact_weight=grid_artifact_weight,
        )  # fmt: skip
        if pixel_criterion not in ("mse", "l1"):
            raise UsageError(f"WNetLoss: pixel_criterion is 'mse' or 'l1', not {pixel_criterion!r}")
        self.pixel_criterion = F.mse_loss if pixel_criterion == "mse" else F.l1_loss
        if parsing_target not in ("hr", "lr"):
            raise UsageError(f"WNetLoss: parsing_target is 'hr' or 'lr', not {parsing_target!r}")
        if parsing_target == "lr" and not scale:
            raise UsageError("WNetLoss: parsing_target 'lr' needs scale")
        if scale is not None and (type(scale) is not int or scale not in (1, 2, 4, 8)):
            raise UsageError(f"WNetLoss: scale is 1, 2, 4 or 8, not {scale!r}")
        if vgg is not None and not (isinstance(vgg, str) and vgg):
            raise UsageError(f"WNetLoss: vgg is the name or path of weights, or nothing, not {vgg!r}")
        if component_mean not in ("region", "image"):
            raise UsageError(f"WNetLoss: component_mean is 'region' or 'image', not {component_mean!r}")
        if masked not in ("images", "features"):
            raise UsageError(f"WNetLoss: masked is 'images' or 'features', not {masked!r}")
        if image_weight and not vgg:
            raise UsageError("WNetLoss: image_weight needs vgg")
        if isinstance(shift, bool) or not isinstance(shift, int) or shift < 0:
            raise UsageError(f"WNetLoss: shift is a number of pixels, not {shift!r}")
        self.masked, self.image_weight, self.shift = masked, image_weight, shift
        self.pixel_weight, self.parsing_weight, self.key_weight = pixel_weight, parsing_weight, key_weight
        self.parsing_target, self.scale = parsing_target, scale
        self.grid_artifact_weight = grid_artifact_weight
        self.perceptual_weight = perceptual_weight
        layer_weights = {"conv5_4": 1.0} if layer_weights is None else layer_weights
        self.layer_weights = checks.named_weights("WNetLoss", "layer_weights", layer_weights, "layer")
        vgg19.check(self.layer_weights, vgg_precision)  # where nothing reads them now, too
        self.component_mean, self.component_weights = component_mean, dict.fromkeys(COMPONENTS, 1.0)
        if component_weights is not None:
            self.component_weights |= checks.named_weights("WNetLoss", "component_weights", component_weights, "component")
            for name in component_weights:
                if name not in COMPONENTS:
                    known = ", ".join(COMPONENTS)
                    raise UsageError(f"WNetLoss: component_weights has {name!r}; the components are {known}")
        needed = key_weight or image_weight
        self.vgg = VGG19Features(vgg, tuple(self.layer_weights), vgg_precision) if vgg and needed else None

    def forward(self, sr: torch.Tensor, parsing: torch.Tensor, gt: torch.Tensor, label: torch.Tensor):
        """Computes the weighted terms.

        Args:
            sr, gt: (B, 3, H, W) in [0, 1].
            parsing: (B, 3, H, W), the estimated map.
            label: (B, H, W) uint8, CelebAMask-HQ classes, 255 = unknown.

        Raises:
            UsageError: another shape or type; sides that are no multiples of ``scale`` with ``parsing_target: lr``.

        Returns:
            OrderedDict of scalars, float32: ``l_pix``, ``l_parsing``, and for each component ``l_NAME_pix`` and, with
            ``vgg``, ``l_NAME_per``; ``l_per`` with ``image_weight``, ``l_grid_artifact`` with ``grid_artifact_weight``.
            Their sum is the loss.
        """
        checks.images("WNetLoss", sr=sr, parsing=parsing, gt=gt)
        checks.label("WNetLoss", label, gt)
        scale = self._parsing_scale
        if any(side % scale for side in gt.shape[-2:]):
            height, width = gt.shape[-2:]
            raise UsageError(f"WNetLoss: parsing_target 'lr' takes sides that are multiples of {scale}, not {width}x{height}")
        with full_precision(sr.device):
            sr, parsing, gt = sr.float(), parsing.float(), gt.float()
            terms = OrderedDict(
                l_pix=self.pixel_weight * self.pixel_criterion(sr, gt),
                l_parsing=self.parsing_weight * self.parsing_loss(parsing, label),
            )
            masks = component_masks(label) if self.key_weight else {}
            for name, mask in masks.items():
                weight = self.key_weight * self.component_weights[name]
                terms[f"l_{name}_pix"] = weight * self.component_error(sr, gt, mask)
            if self.grid_artifact_weight:
                terms["l_grid_artifact"] = self.grid_artifact_weight * grid_artifact_loss(sr, gt)
            if self.vgg is not None:
                terms.update(self.perceptual_losses(sr, gt, masks))
        return terms

    def component_error(self, sr: torch.Tensor, gt: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The first half of equation 27 for the region of a mask (B, 1, H, W); scalar."""
        if self.component_mean == "image":
            return F.mse_loss(sr * mask, gt * mask)
        return masked_mse(sr, gt, mask).mean()

    @property
    def _parsing_scale(self) -> int:
        """How much smaller than the face the map is on which the parsing loss is computed: 1, or the scale of the LR face."""
        return self.scale if self.parsing_target == "lr" and self.scale else 1

    def parsing_loss(self, parsing: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Equation 25; scalar."""
        target, known = skin_target(label)
        scale = self._parsing_scale
        if scale > 1:
            size = (label.shape[-2] // scale, label.shape[-1] // scale)
            parsing = F.adaptive_avg_pool2d(parsing, size)
            target = F.interpolate(target, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
            # The reduced map is known where nothing under the bicubic kernel, 4 * scale wide, is unknown.
            known = 1 - F.max_pool2d(1 - known, 4 * scale, scale, padding=3 * scale // 2)
        return masked_mse(parsing, target, known).mean()

    def perceptual_losses(self, sr: torch.Tensor, gt: torch.Tensor, masks: dict[str, torch.Tensor]) -> OrderedDict:
        """The perceptual half of equation 27 for each component, and that of the whole image; weights included."""
        weight = self.key_weight * self.perceptual_weight
        weights = {f"l_{name}_per": weight * self.component_weights[name] for name in masks}
        regions = list(masks.values())
        if self.image_weight:
            weights["l_per"] = self.image_weight
            regions.append(torch.ones_like(sr[:, :1]))
        measure = self.distances_of_masked_images if self.masked == "images" else self.distances_of_masked_features
        distances = measure(*random_crop(self.shift, sr, gt, torch.stack(regions)))
        return OrderedDict((name, weight * distance) for (name, weight), distance in zip(weights.items(), distances))

    def features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Layer names to VGG-19 features of (B, 3, H, W); raises :class:`UsageError` from a loss that was made without."""
        if self.vgg is None:
            raise UsageError("WNetLoss: perceptual terms need vgg, and key_weight or image_weight")
        return self.vgg(image)

    def distances_of_masked_features(self, sr: torch.Tensor, gt: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Squared distances of the features of whole images, each averaged over a region. Shapes as below."""
        sr_features = self.features(sr)
        with torch.no_grad():
            gt_features = self.features(gt)
        distances = sr.new_zeros(len(masks))
        for layer, weight in self.layer_weights.items():
            error = (sr_features[layer] - gt_features[layer]).square().mean(dim=1)
            height, width = error.shape[-2:]
            share = F.adaptive_avg_pool2d(masks.flatten(0, 1), (height, width)).view(*masks.shape[:2], height, width)
            over_region = (share * error).sum(dim=(-2, -1)) / share.sum(dim=(-2, -1)).clamp(min=1e-6)
            distances = distances + weight * over_region.mean(dim=1)
        return distances

    def distances_of_masked_images(self, sr: torch.Tensor, gt: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Equation 26 for images masked by each region.

        Args:
            sr, gt: (B, 3, H, W).
            masks: (R, B, 1, H, W).

        Returns:
            (R,), mean over the batch. Empty regions cost nothing: their masked images are equal.
        """
        region, image = masks.flatten(2).any(-1).nonzero(as_tuple=True)
        distances = sr.new_zeros(masks.shape[:2])
        if len(region):
            mask = masks[region, image]
            sr_features = self.features(sr[image] * mask)
            with torch.no_grad():
                gt_features = self.features(gt[image] * mask)
            each = checks.total(
                weight * (sr_features[layer] - gt_features[layer]).square().mean(dim=(1, 2, 3))
                for layer, weight in self.layer_weights.items()
            )
            distances = distances.index_put((region, image), each)
        return distances.mean(dim=1)
