"""Training of W-Net: the face and its parsing map together."""

from __future__ import annotations

import inspect
from collections import OrderedDict

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from wnet_arch.archs.wnet_blocks import PARSING_CHANNELS
from wnet_arch.errors import UsageError
from wnet_arch.losses.wnet_loss import skin_target
from wnet_arch.models.face_sr_model import FaceSRModel


@MODEL_REGISTRY.register()
class WNetModel(FaceSRModel):
    """FaceSRModel with W-Net's loss (``train.wnet_opt``), for networks whose output has a field ``parsing``.

    Batches need ``parsing`` (B, H, W) uint8 labels beside ``lq`` and ``gt``. Loss terms are logged one by one, see
    :class:`~wnet_arch.losses.wnet_loss.WNetLoss`.

    ``train.true_parsing``: the network gets the true skin map instead of its own estimate, in training and validation. No such
    network can be used, since nobody has the map of a face that has yet to be restored; it tells what a better estimate would be
    worth. For networks whose ``forward`` takes ``parsing`` (WNet, WNetLite).

    ``train.parsing_ramp_iter``: iterations in which the weight of the parsing term rises along a line from 0 to that of
    ``train.wnet_opt``, so that the network learns faces before it learns the map; 0 for the full weight from the first.
    """

    @staticmethod
    def check_options(opt: dict) -> None:
        """Raises :class:`UsageError` unless there is a loss to train with."""
        if not opt["train"].get("wnet_opt"):
            raise UsageError("train.wnet_opt is missing from the options: WNetModel needs it (type: WNetLoss)")

    @staticmethod
    def check_network(opt: dict, net: nn.Module) -> None:
        """Raises :class:`UsageError` where the network cannot be given the map that it is to get."""
        if opt["train"].get("true_parsing") and "parsing" not in inspect.signature(net.forward).parameters:
            raise UsageError(f"train.true_parsing: {type(net).__name__} takes no map; use WNet or WNetLite, or set it to false")

    def init_losses(self) -> None:
        """Builds ``train.wnet_opt``. Raises :class:`UsageError` as :meth:`check_options` and :meth:`check_network` do."""
        self.check_options(self.opt)
        self.check_network(self.opt, self.get_bare_model(self.net_g))
        self.cri_wnet: nn.Module = self._build_loss(self.opt["train"]["wnet_opt"])

    def feed_data(self, data: dict) -> None:
        """Takes ``parsing`` (B, H, W) as well, where the batch has it."""
        super().feed_data(data)
        self.label = self.on_device(data["parsing"]) if "parsing" in data else None

    def compute_losses(self) -> OrderedDict:
        """The terms of ``train.wnet_opt``, that of the map weighted as ``train.parsing_ramp_iter`` says.

        Raises:
            UsageError: the batch has no ``parsing``.
        """
        if self.label is None:
            raise UsageError("datasets.train: WNetModel needs samples with 'parsing'; use type: PairedFaceParsingDataset")
        out = self.run_generator(return_aux=True, **self.given())
        terms = self.cri_wnet(out.sr, out.parsing, self.gt, self.label)
        ramp = self.opt["train"].get("parsing_ramp_iter", 0)
        if "l_parsing" in terms and self.current_iter < ramp:
            terms["l_parsing"] = terms["l_parsing"] * (self.current_iter / ramp)
        return terms

    def given(self) -> dict[str, torch.Tensor]:
        """What the network gets beside the face: the true map (B, 3, H, W) if ``train.true_parsing`` says so."""
        if not (self.opt.get("train") or {}).get("true_parsing"):
            return {}
        if self.label is None:
            raise UsageError("train.true_parsing: these samples have no 'parsing'; use type: PairedFaceParsingDataset")
        return {"parsing": skin_target(self.label)[0].expand(-1, PARSING_CHANNELS, -1, -1)}

    def predict(self, net: nn.Module) -> None:
        """Sets ``self.output`` and ``self.parsing``, the estimated map; ``None`` where a test file was given a network without."""
        out = net(self.lq, return_aux=True, **self.given())
        self.output, self.parsing = out.sr, getattr(out, "parsing", None)

    def get_current_visuals(self) -> OrderedDict:
        """The images of the batch on the CPU, and ``parsing``, the estimated map (B, 3, H, W), where there is one."""
        visuals = super().get_current_visuals()
        if self.parsing is not None:
            visuals["parsing"] = self.parsing.detach().cpu()
        return visuals
