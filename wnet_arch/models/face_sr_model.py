"""The model every network of this package trains with: BasicSR's SRModel, mended where it goes wrong."""

from __future__ import annotations

import copy
from collections import OrderedDict

import torch
from basicsr.archs import build_network
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from wnet_arch.checkpoint import load_into
from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.losses import build_loss


@MODEL_REGISTRY.register()
class FaceSRModel(SRModel):
    """Trains and validates any super-resolution network with the options of SRModel.

    Differences from SRModel, each for a reason:

    * The moving average (``ema_decay``) copies buffers too. SRModel averages parameters only, so the averaged network keeps
      BatchNorm's initial statistics for ever and is validated, and saved, with them.
    * Testing runs the bare network, not its distributed wrapper: rank 0 alone validates, and a wrapper would wait for the
      other ranks to exchange BatchNorm buffers.
    * Weights are read without unpickling code, from ``.pth`` or ``.safetensors``; a mismatch names the first differences.
    * Every optimizer of ``torch.optim`` can be named. The option dictionaries are left as they were.

    A model with other losses overrides :meth:`init_losses` and :meth:`compute_losses`; one that changes gradients,
    :meth:`before_step`.
    """

    def __init__(self, opt: dict):
        opt = copy.deepcopy(opt)  # SRModel and BaseModel pop entries from it
        if opt.get("val"):
            opt["val"].setdefault("suffix", None)
        super().__init__(opt)

    def init_training_settings(self) -> None:
        self.net_g.train()
        self.ema_decay = self.opt["train"].get("ema_decay", 0)
        if self.ema_decay > 0:
            self.init_ema()
        self.init_losses()
        self.setup_optimizers()
        self.setup_schedulers()

    def init_ema(self) -> None:
        """Builds the averaged network, from ``params_ema`` of the pretrained file if there is one."""
        get_root_logger().info(f"Use Exponential Moving Average with decay: {self.ema_decay}")
        self.net_g_ema = build_network(self.opt["network_g"]).to(self.device)
        self.net_g_ema.requires_grad_(False).eval()
        path = self.opt["path"].get("pretrain_network_g")
        if path:
            self.load_network(self.net_g_ema, path, self.opt["path"].get("strict_load_g", True), "params_ema")
        else:
            self.model_ema(0)

    def init_losses(self) -> None:
        """Builds the losses named in ``train``: ``pixel_opt`` and ``perceptual_opt``."""
        train_opt = self.opt["train"]
        if not train_opt.get("pixel_opt") and not train_opt.get("perceptual_opt"):
            raise UsageError("train: neither pixel_opt nor perceptual_opt is given, so there is no loss to train with")
        self.cri_pix = self._build_loss(train_opt.get("pixel_opt"))
        self.cri_perceptual = self._build_loss(train_opt.get("perceptual_opt"))

    def _build_loss(self, options: dict | None) -> nn.Module | None:
        return build_loss(options, self.opt.get("scale")).to(self.device) if options else None

    def compute_losses(self) -> OrderedDict:
        """Runs the network on ``self.lq``; returns weighted loss terms (scalars), logged by name, whose sum is minimised."""
        self.output = self.net_g(self.lq)
        losses = OrderedDict()
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(self.output, self.gt)
            losses.update({name: term for name, term in (("l_percep", perceptual), ("l_style", style)) if term is not None})
        return losses

    def optimize_parameters(self, current_iter: int) -> None:
        self.optimizer_g.zero_grad(set_to_none=True)
        losses = self.compute_losses()
        sum(losses.values()).backward()
        self.before_step(current_iter)
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def before_step(self, current_iter: int) -> None:
        """Called with gradients in place, before the optimizer's step of each iteration; does nothing here."""

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """Moves the averaged parameters towards the current ones, and copies the buffers (BatchNorm statistics)."""
        net = self.get_bare_model(self.net_g)
        current = dict(net.named_parameters())
        for name, averaged in self.net_g_ema.named_parameters():
            averaged.mul_(decay).add_(current[name], alpha=1 - decay)
        buffers = dict(net.named_buffers())
        for name, buffer in self.net_g_ema.named_buffers():
            buffer.copy_(buffers[name])

    def test(self) -> None:
        """Predicts with the averaged network where there is one, else with the current one, in evaluation mode."""
        net = self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)
        was_training = net.training
        net.eval()
        with torch.no_grad():
            self.predict(net)
        net.train(was_training)

    def predict(self, net: nn.Module) -> None:
        """Sets ``self.output`` to what ``net`` makes of ``self.lq``."""
        self.output = net(self.lq)

    def print_network(self, net: nn.Module) -> None:
        """Logs one line; SRModel logs every layer, some hundred lines before each run says anything else."""
        bare = self.get_bare_model(net)
        count = sum(p.numel() for p in bare.parameters())
        get_root_logger().info(f"Network: {type(bare).__name__}, with parameters: {count:,d}")

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = "params") -> None:
        load_into(self.get_bare_model(net), load_path, param_key, strict)
        get_root_logger().info(f"Loaded {type(self.get_bare_model(net)).__name__} [{param_key}] from {load_path}")

    def get_optimizer(self, optim_type: str, params, lr: float, **kwargs) -> torch.optim.Optimizer:
        known = {
            name: cls for name, cls in vars(torch.optim).items()
            if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)
        }
        if optim_type not in known:
            raise UsageError(f"train: no optimizer is called '{optim_type}'{did_you_mean(optim_type, known)}")
        return known[optim_type](params, lr=lr, **kwargs)
