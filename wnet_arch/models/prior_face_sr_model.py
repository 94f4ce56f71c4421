"""Training of networks with facial priors: the face and what the network estimates beside it."""

from __future__ import annotations

from collections import OrderedDict

from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
from torch import nn

from wnet_arch.errors import UsageError
from wnet_arch.models.face_sr_model import FaceSRModel


@MODEL_REGISTRY.register()
class PriorFaceSRModel(FaceSRModel):
    """FaceSRModel with a loss over all that the network gives (``train.prior_opt``), see :mod:`wnet_arch.losses.prior_losses`.

    Such a loss is called with the network's named tuple, ``gt``, ``parsing`` and ``landmarks`` of the batch, ``None`` where
    the batch has none, and returns the terms, which are logged one by one.

    ``train.freeze_landmark_iters`` (default 0): for this many iterations the landmark net of the network (``trunk.landmarks``)
    stays as it is. DIC's is trained on HR faces beforehand and frozen for 2,000 iterations on CelebA. There is no such
    pretrained landmark net here, and one that knows nothing is better not frozen: use this with weights of your own.
    """

    @staticmethod
    def check_options(opt: dict) -> None:
        """Raises :class:`UsageError` for what can be seen wrong before anything is built."""
        block, iters = opt["train"].get("prior_opt"), opt["train"].get("freeze_landmark_iters", 0)
        if not block:
            raise UsageError("train: PriorFaceSRModel needs prior_opt (type: DICLoss, FSRNetLoss, SFMNetLoss, FishFSRNetLoss)")
        if isinstance(iters, bool) or not isinstance(iters, int) or iters < 0:
            raise UsageError(f"train.freeze_landmark_iters: a number of iterations, not {iters!r}")
        samples = opt.get("datasets", {}).get("train", {})
        needs_landmarks = getattr(LOSS_REGISTRY.get(block["type"]), "needs_landmarks", False)
        if needs_landmarks and samples.get("type") == "PairedFaceParsingDataset" and not samples.get("landmarks"):
            raise UsageError(f"datasets.train.landmarks must be true: {block['type']} trains with landmarks")

    def init_losses(self) -> None:
        """Builds ``train.prior_opt``. Raises :class:`UsageError` as :meth:`check_options` and :meth:`check_network` do."""
        self.check_options(self.opt)
        self.cri_prior: nn.Module = self._build_loss(self.opt["train"]["prior_opt"])
        self.freeze_iters = self.opt["train"].get("freeze_landmark_iters", 0)
        self.check_network(self.opt, self.get_bare_model(self.net_g))

    @staticmethod
    def check_network(opt: dict, net: nn.Module) -> None:
        """Raises :class:`UsageError` where the network has no landmark net to be frozen."""
        if opt["train"].get("freeze_landmark_iters") and _landmark_net(net) is None:
            raise UsageError(f"train.freeze_landmark_iters: {opt['network_g']['type']} has no landmark net; set it to 0")

    def feed_data(self, data: dict) -> None:
        """Takes ``parsing`` (B, H, W) and ``landmarks`` (B, 68, 2) as well, where the batch has them."""
        super().feed_data(data)
        self.label, self.landmarks = (self.on_device(data[key]) if key in data else None for key in ("parsing", "landmarks"))

    def compute_losses(self) -> OrderedDict:
        """The terms of ``train.prior_opt``."""
        out = self.run_generator(return_aux=True)
        return self.cri_prior(out, self.gt, self.label, self.landmarks)

    def before_step(self, current_iter: int) -> None:
        """Takes the landmark net's gradients away, as long as ``train.freeze_landmark_iters`` says."""
        frozen = _landmark_net(self.get_bare_model(self.net_g)) if current_iter <= self.freeze_iters else None
        if frozen is not None:
            # Without a gradient the optimizer passes a parameter by. Turning requires_grad off would stop a distributed run.
            for parameter in frozen.parameters():
                parameter.grad = None


def _landmark_net(net: nn.Module) -> nn.Module | None:
    return getattr(getattr(net, "trunk", None), "landmarks", None)
