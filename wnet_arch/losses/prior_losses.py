"""Losses of networks that estimate more than the face: DIC, FSRNet, SFMNet, FishFSRNet.

Each takes what ``net(lq, return_aux=True)`` gives, the HR face, its label map and its landmarks, and returns its terms by
name. Errors of priors are means over what is known of an image, then over the batch: an image without a label map, or
without landmarks, contributes 0 to that term.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import NamedTuple, overload

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from wnet_arch.archs.baseline_layers import to_signed
from wnet_arch.archs.layers import full_precision
from wnet_arch.errors import UsageError
from wnet_arch.faces.landmarks import NUM_POINTS
from wnet_arch.losses import checks
from wnet_arch.losses.heatmaps import HELEN, coloured_map, helen_maps, landmark_heatmaps


def masked_mean(error: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of errors over channels and the pixels of a mask, for each image; 0 where its mask is empty. Scalar: their mean.

    Args:
        error: (B, C, H, W).
        mask: (B, 1, H, W) or (B, 1, 1, 1) of 0 and 1.
    """
    mask = mask.expand_as(error)
    return ((error * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp(min=1)).mean()


class PriorLoss(nn.Module, ABC):
    """Base of the losses here: checks what it is given and leaves reduced precision.

    Class attributes:
        fields: what the loss reads of the network's output.
        images: those of them that are images like the face, or tuples of such.
        needs_landmarks: whether no batch may lack landmarks (they may be NaN).
        terms_with_maps: weights of the terms that need label maps.
    """

    fields: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    needs_landmarks: bool = False
    terms_with_maps: tuple[str, ...] = ()

    @abstractmethod
    def terms(self, out: NamedTuple, gt: torch.Tensor, label: torch.Tensor | None, landmarks: torch.Tensor | None) -> OrderedDict:
        """Weighted terms, scalars by name."""

    def forward(
        self,
        out: NamedTuple,
        gt: torch.Tensor,
        label: torch.Tensor | None = None,
        landmarks: torch.Tensor | None = None,
    ) -> OrderedDict:
        """Computes the weighted terms.

        Args:
            out: the named tuple of the network, images in [0, 1].
            gt: (B, 3, H, W) in [0, 1].
            label: (B, H, W) uint8, CelebAMask-HQ classes, 255 = unknown.
            landmarks: (B, 68, 2), x and y in pixels of ``gt``; NaN where unknown.

        Returns:
            OrderedDict of scalars, float32, named ``l_...``. Their sum is the loss.

        Raises:
            UsageError: the network has other priors, the batch lacks what the loss needs, or has it in another shape or type.
        """
        missing = [field for field in self.fields if field not in out._fields]
        if missing:
            raise UsageError(
                f"train.prior_opt: {type(self).__name__} needs a network that gives {' and '.join(self.fields)}; "
                f"this one gives {', '.join(out._fields)}"
            )
        owner = type(self).__name__
        found = {out._fields[0]: out[0], **{name: getattr(out, name) for name in self.images}}
        for name, value in found.items():
            for image in value if isinstance(value, tuple) else (value,):
                checks.images(owner, **{name: image, "gt": gt})
        if label is not None:
            checks.label(owner, label, gt)
        if landmarks is not None:
            checks.landmarks(owner, landmarks, gt)
        with full_precision(gt.device):
            return self.terms(out._make(map(_full, out)), _full(gt), label, landmarks)

    def need(self, value: torch.Tensor | None, key: str, how: str) -> torch.Tensor:
        """Returns what the batch must have, or says how it gets it."""
        if value is None:
            raise UsageError(f"datasets.train: {type(self).__name__} needs samples with '{key}'; use {how}")
        return value

    def need_label(self, label: torch.Tensor | None) -> torch.Tensor:
        """The batch's parsing maps (B, H, W); raises :class:`UsageError` where it has none."""
        return self.need(label, "parsing", "type: PairedFaceParsingDataset")

    def need_landmarks(self, landmarks: torch.Tensor | None) -> torch.Tensor:
        """The batch's landmarks (B, 68, 2); raises :class:`UsageError` where it has none."""
        return self.need(landmarks, "landmarks", "type: PairedFaceParsingDataset with landmarks: true")


@overload
def _full(value: torch.Tensor) -> torch.Tensor: ...
@overload
def _full(value: tuple) -> tuple: ...
def _full(value: torch.Tensor | tuple) -> torch.Tensor | tuple:
    """float32 (float64 stays) of a tensor, or of all tensors of a tuple."""
    if isinstance(value, tuple):
        return tuple(map(_full, value))
    return value if value.dtype == torch.float64 else value.float()


def heatmap_error(heatmaps: torch.Tensor, landmarks: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
    """Squared error of heatmaps (B, 68, h, w) of faces (B, 3, H, W) with landmarks (B, 68, 2); scalar."""
    height, width = heatmaps.shape[-2:]
    target, known = landmark_heatmaps(landmarks, height, width, stride=gt.shape[-1] / width)
    return masked_mean((heatmaps - target).square(), known)


@LOSS_REGISTRY.register()
class DICLoss(PriorLoss):
    """Sum over DIC's steps of L1 of the image and, weighted, squared error of its heatmaps (Ma et al., CVPR 2020).

    Terms ``l_pix`` and ``l_heatmap``; targets see :func:`~wnet_arch.losses.heatmaps.landmark_heatmaps`.

    Args:
        pixel_weight: 1 as published.
        heatmap_weight: 0.1 as published.
    """

    fields = ("steps", "heatmaps")
    images = ("steps",)
    needs_landmarks = True

    def __init__(self, pixel_weight: float = 1.0, heatmap_weight: float = 0.1):
        super().__init__()
        checks.weights("DICLoss", pixel_weight=pixel_weight, heatmap_weight=heatmap_weight)
        self.pixel_weight, self.heatmap_weight = pixel_weight, heatmap_weight

    def terms(self, out, gt, label, landmarks) -> OrderedDict:
        """See :meth:`PriorLoss.terms`. ``out``: of DIC, with images (B, 3, H, W) and heatmaps (B, 68, h, w) of each step."""
        landmarks = self.need_landmarks(landmarks)
        return OrderedDict(
            l_pix=self.pixel_weight * sum(F.l1_loss(image, gt) for image in out.steps),
            l_heatmap=self.heatmap_weight * sum(heatmap_error(maps, landmarks, gt) for maps in out.heatmaps),
        )


@LOSS_REGISTRY.register()
class FSRNetLoss(PriorLoss):
    """Squared errors of FSRNet's coarse image, final image and prior maps (Chen et al., CVPR 2018).

    Terms ``l_coarse``, ``l_pix``, ``l_maps``, and ``l_heatmap`` if there are heatmaps. The published weights, all 1, hold
    for images in [-1, 1], where the network works, so the two image terms are computed there. The paper's priors are
    parsing maps and merged landmark heatmaps of Helen. Here the first 11 maps are Helen's classes, merged from the labels
    (see :data:`~wnet_arch.losses.heatmaps.HELEN`); a network with 79 maps learns Gaussians of 68 landmarks after them, and
    the batch then needs ``landmarks``.

    Args:
        pixel_weight: of the final image.
        coarse_weight: of the coarse image.
        prior_weight: of the parsing maps, and of the heatmaps.
    """

    fields = ("coarse", "maps")
    images = ("coarse",)
    terms_with_maps = ("prior_weight",)

    def __init__(self, pixel_weight: float = 1.0, coarse_weight: float = 1.0, prior_weight: float = 1.0):
        super().__init__()
        checks.weights("FSRNetLoss", pixel_weight=pixel_weight, coarse_weight=coarse_weight, prior_weight=prior_weight)
        self.pixel_weight, self.coarse_weight, self.prior_weight = pixel_weight, coarse_weight, prior_weight

    def terms(self, out, gt, label, landmarks) -> OrderedDict:
        """See :meth:`PriorLoss.terms`. ``out``: of FSRNet, with ``maps`` (B, 11 or 79, h, w).

        Raises:
            UsageError: another number of maps; or the batch lacks labels, or landmarks for the heatmaps.
        """
        classes, count = len(HELEN), out.maps.shape[1]
        if count not in (classes, classes + NUM_POINTS):
            raise UsageError(
                f"network_g.num_maps: FSRNetLoss trains {classes} parsing maps, or these and {NUM_POINTS} heatmaps "
                f"({classes + NUM_POINTS}), not {count}"
            )
        target, known = helen_maps(self.need_label(label), *out.maps.shape[-2:])
        signed = to_signed(gt)
        terms = OrderedDict(
            l_coarse=self.coarse_weight * F.mse_loss(to_signed(out.coarse), signed),
            l_pix=self.pixel_weight * F.mse_loss(to_signed(out.sr), signed),
            l_maps=self.prior_weight * masked_mean((out.maps[:, :classes] - target).square(), known),
        )
        if count > classes:
            landmarks = self.need_landmarks(landmarks)
            terms["l_heatmap"] = self.prior_weight * heatmap_error(out.maps[:, classes:], landmarks, gt)
        return terms


@LOSS_REGISTRY.register()
class SFMNetLoss(PriorLoss):
    """L1 of SFMNet's two images, and of the second one's amplitude and phase (Wang et al., CVPR 2023).

    Terms ``l_pix``, ``l_frequency``, ``l_amplitude``, ``l_phase``. As published the Fourier transform is not normalised, and
    phases are compared as numbers in [-pi, pi], not around the circle.

    Args:
        pixel_weight, frequency_weight: of the images of the spatial and of the frequency branch, 1 as published.
        amplitude_weight, phase_weight: 0.01 as published.
    """

    fields = ("frequency",)
    images = ("frequency",)

    def __init__(
        self,
        pixel_weight: float = 1.0,
        frequency_weight: float = 1.0,
        amplitude_weight: float = 0.01,
        phase_weight: float = 0.01,
    ):
        super().__init__()
        checks.weights(
            "SFMNetLoss", pixel_weight=pixel_weight, frequency_weight=frequency_weight,
            amplitude_weight=amplitude_weight, phase_weight=phase_weight,
        )  # fmt: skip
        self.pixel_weight, self.frequency_weight = pixel_weight, frequency_weight
        self.amplitude_weight, self.phase_weight = amplitude_weight, phase_weight

    def terms(self, out, gt, label, landmarks) -> OrderedDict:
        """See :meth:`PriorLoss.terms`. ``out``: of SFMNet, with the image ``frequency`` (B, 3, H, W). Labels are not used."""
        spectrum, target = torch.fft.rfft2(out.frequency), torch.fft.rfft2(gt)
        return OrderedDict(
            l_pix=self.pixel_weight * F.l1_loss(out.sr, gt),
            l_frequency=self.frequency_weight * F.l1_loss(out.frequency, gt),
            l_amplitude=self.amplitude_weight * F.l1_loss(spectrum.abs(), target.abs()),
            l_phase=self.phase_weight * F.l1_loss(spectrum.angle(), target.angle()),
        )


@LOSS_REGISTRY.register()
class FishFSRNetLoss(PriorLoss):
    """L1 of FishFSRNet's image, and of the parsing map that its ParsingNet estimates (Wang et al., T-BIOM 2023).

    Terms ``l_pix`` and ``l_parsing``. Differs: published are two trainings, ParsingNet with L1 first, then the rest on its
    written maps; here both are trained together, with gradients of the image reaching ParsingNet. The published map has
    three colours that are not documented; ours has those of :data:`wnet_arch.faces.labels.PALETTE`, averaged over each
    pixel of the LR face.

    Args:
        pixel_weight: of the image.
        parsing_weight: of the map; 1 is our choice, as there is no published joint training.
    """

    fields = ("parsing",)
    terms_with_maps = ("parsing_weight",)

    def __init__(self, pixel_weight: float = 1.0, parsing_weight: float = 1.0):
        super().__init__()
        checks.weights("FishFSRNetLoss", pixel_weight=pixel_weight, parsing_weight=parsing_weight)
        self.pixel_weight, self.parsing_weight = pixel_weight, parsing_weight

    def terms(self, out, gt, label, landmarks) -> OrderedDict:
        """See :meth:`PriorLoss.terms`. ``out``: of FishFSRNet, with the map ``parsing`` (B, 3, h, w)."""
        target, known = coloured_map(self.need_label(label), *out.parsing.shape[-2:])
        return OrderedDict(
            l_pix=self.pixel_weight * F.l1_loss(out.sr, gt),
            l_parsing=self.parsing_weight * masked_mean((out.parsing - target).abs(), known),
        )
