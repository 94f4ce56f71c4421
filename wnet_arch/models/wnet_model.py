"""Training of W-Net: the face and its parsing map together."""

from __future__ import annotations

from collections import OrderedDict

from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from wnet_arch.errors import UsageError
from wnet_arch.models.face_sr_model import FaceSRModel


@MODEL_REGISTRY.register()
class WNetModel(FaceSRModel):
    """FaceSRModel with W-Net's loss (``train.wnet_opt``), for networks whose output has a field ``parsing``.

    Batches need ``parsing`` (B, H, W) uint8 labels beside ``lq`` and ``gt``. Loss terms are logged one by one, see
    :class:`~wnet_arch.losses.wnet_loss.WNetLoss`.
    """

    @staticmethod
    def check_options(opt: dict) -> None:
        """Raises :class:`UsageError` unless there is a loss to train with."""
        if not opt["train"].get("wnet_opt"):
            raise UsageError("train.wnet_opt is missing from the options: WNetModel needs it (type: WNetLoss)")

    def init_losses(self) -> None:
        self.check_options(self.opt)
        self.cri_wnet = self._build_loss(self.opt["train"]["wnet_opt"])

    def feed_data(self, data: dict) -> None:
        super().feed_data(data)
        self.label = data["parsing"].to(self.device) if "parsing" in data else None

    def compute_losses(self) -> OrderedDict:
        if self.label is None:
            raise UsageError("datasets.train: WNetModel needs samples with 'parsing'; use type: PairedFaceParsingDataset")
        out = self.run(self.net_g, self.lq, return_aux=True)
        self.output = out.sr
        return self.cri_wnet(out.sr, out.parsing, self.gt, self.label)

    def predict(self, net: nn.Module) -> None:
        """Sets ``self.output`` and ``self.parsing``, the estimated map."""
        out = net(self.lq, return_aux=True)
        self.output, self.parsing = out.sr, out.parsing

    def get_current_visuals(self) -> OrderedDict:
        visuals = super().get_current_visuals()
        visuals["parsing"] = self.parsing.detach().cpu()
        return visuals
