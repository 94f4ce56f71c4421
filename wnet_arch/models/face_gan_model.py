"""Training against a discriminator: SRGAN, WIPA, MRRNet."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import cast

import torch
from basicsr.archs import build_network
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.losses import checks
from wnet_arch.losses.gan_loss import RelativisticHingeGANLoss
from wnet_arch.models.face_sr_model import FaceSRModel
from wnet_arch.training import accumulation, averaging
from wnet_arch.training.step_clock import timed

#: Parts of the training that may start late, and what ``train.start_iters`` calls them.
STAGES = ("content", "net_d", "gan")


@MODEL_REGISTRY.register()
class FaceGANModel(FaceSRModel):
    """FaceSRModel and a discriminator, with the options and the log of the framework's SRGANModel.

    Options beside those of FaceSRModel: ``network_d``; ``train.optim_d``; ``train.gan_opt``, the framework's GANLoss or one
    of :mod:`~wnet_arch.losses.gan_loss`; ``train.net_d_iters`` (n: the generator learns in every n-th iteration) and
    ``train.net_d_init_iters`` (and only after that many); ``path.pretrain_network_d``. An iteration updates the generator
    against the discriminator as it is, then the discriminator on the image the generator made before its update.

    Options that SRGANModel does not have:

    * ``train.wavelet_opt`` and ``train.identity_opt``, WIPA's losses; the first needs a network whose output has ``wavelets``.
    * ``train.start_iters``: the first iteration of ``content`` (every loss of the generator but ``pixel_opt`` and
      ``gan_opt``), ``net_d`` (the discriminator's training) and ``gan`` (``gan_opt`` for the generator); 1 where not given.
    * ``train.scheduler_d``: a learning rate of the discriminator's own; ``train.scheduler`` serves both where not given.

    Terms logged: ``l_g_pix``, ``l_g_percep``, ``l_g_style``, ``l_g_wavelet``, ``l_g_identity``, ``l_g_gan``, as far as they
    are used, ``l_d_real``, ``l_d_fake``, and the discriminator's mean answers ``out_d_real``, ``out_d_fake``.
    """

    optimizers: list[torch.optim.Optimizer]

    @staticmethod
    def check_options(opt: dict) -> None:
        """Raises :class:`UsageError` unless the options have what an adversarial training needs."""
        train_opt = opt["train"]
        for key, block in (("network_d", opt.get("network_d")), ("train.optim_d", train_opt.get("optim_d")),
                           ("train.gan_opt", train_opt.get("gan_opt"))):  # fmt: skip
            if not block:
                raise UsageError(f"{key} is missing from the options: FaceGANModel trains against a discriminator")
        start = train_opt.get("start_iters") or {}
        for stage, value in start.items():
            if stage not in STAGES:
                raise UsageError(f"train.start_iters.{stage} is not a part of the training{did_you_mean(stage, STAGES)}")
            if isinstance(value, bool) or not isinstance(value, int):
                raise UsageError(f"train.start_iters.{stage} must be int, not {value!r}")
        if start.get("content", 1) > 1 and not train_opt.get("pixel_opt"):
            raise UsageError("train.start_iters.content: before it there is only pixel_opt to train with, which is not given")
        every = train_opt.get("net_d_iters", 1)
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UsageError(f"train.net_d_iters must be a whole number above 0, not {every!r}")

    def init_training_settings(self) -> None:
        """As FaceSRModel's, and the discriminator before.

        Raises:
            UsageError: see :meth:`check_options`.
        """
        self.check_options(self.opt)
        self.init_discriminator()
        super().init_training_settings()

    def init_discriminator(self) -> None:
        """Builds ``net_d``, from the pretrained file if there is one."""
        self.net_d = self.model_to_device(build_network(self.opt["network_d"]))
        self.print_network(self.net_d)
        paths = self.opt["path"]
        if paths.get("pretrain_network_d"):
            key = paths.get("param_key_d", "params")
            self.load_network(self.net_d, paths["pretrain_network_d"], paths.get("strict_load_d", True), key)
        self.net_d.train()

    def init_losses(self) -> None:
        """Builds the losses of the generator and, by :meth:`init_adversarial_loss`, that of both."""
        super().init_losses()
        train_opt = self.opt["train"]
        self.cri_wavelet = self._build_loss(train_opt.get("wavelet_opt"))
        self.cri_identity = self._build_loss(train_opt.get("identity_opt"))
        self.init_adversarial_loss()

    def init_adversarial_loss(self) -> None:
        """Builds ``cri_gan``, and reads when it acts."""
        train_opt = self.opt["train"]
        self.cri_gan: nn.Module = self._build_loss(train_opt["gan_opt"])
        self.net_d_iters = train_opt.get("net_d_iters", 1)
        self.net_d_init_iters = train_opt.get("net_d_init_iters", 0)
        self.start_iters = {**dict.fromkeys(STAGES, 1), **(train_opt.get("start_iters") or {})}

    def setup_optimizers(self) -> None:
        """``train.optim_g`` and ``train.optim_d``, in this order in ``optimizers``."""
        super().setup_optimizers()
        options = dict(self.opt["train"]["optim_d"])
        self.optimizer_d = self.get_optimizer(options.pop("type"), self.net_d.parameters(), **options)
        self.optimizers.append(self.optimizer_d)

    def setup_schedulers(self) -> None:
        """``train.scheduler`` for the generator, ``train.scheduler_d``, or the same, for the discriminator."""
        train_opt, optimizers = self.opt["train"], self.optimizers
        both = train_opt["scheduler"]
        # The framework's own gives every optimizer the same schedule, and takes entries out of it: one call for each.
        for optimizer, options in zip(optimizers, (both, train_opt.get("scheduler_d") or both)):
            self.optimizers, train_opt["scheduler"] = [optimizer], copy.deepcopy(options)
            super().setup_schedulers()
        self.optimizers, train_opt["scheduler"] = optimizers, both

    @timed
    def optimize_parameters(self, current_iter: int) -> None:
        """One step of the generator, if it is its turn, then one of the discriminator; see the class."""
        self.current_iter = current_iter
        if hasattr(self.cri_gan, "progress"):
            self.cri_gan.progress = current_iter / self.opt["train"]["total_iter"]
        kept, kept_d = self.finite.kept(self.net_g), self.finite.kept(self.net_d)
        losses, finite = self.optimize_generator()
        finite_d = finite
        if finite and self.started("net_d"):
            terms, finite_d = self.optimize_discriminator()
            losses.update(terms)
        self.log_dict = self.reduce_loss_dict(losses)
        if not finite_d:
            self.finite.put_back(kept_d)
        if not finite:
            self.finite.put_back(kept)
        elif self.ema_decay > 0:
            self.model_ema(averaging.decay_at(current_iter, self.opt["train"]))

    def started(self, stage: str) -> bool:
        """Whether a part of the training, one of ``STAGES``, takes place in this iteration."""
        return self.current_iter >= self.start_iters[stage]

    def optimize_generator(self) -> tuple[OrderedDict, bool]:
        """Sets ``self.pairs``, true and predicted images; updates the generator, if it is its turn.

        Returns:
            Its loss terms, and whether they are finite.
        """
        self.net_d.requires_grad_(False)
        self.optimizer_g.zero_grad(set_to_none=True)
        learns = self.current_iter % self.net_d_iters == 0 and self.current_iter > self.net_d_init_iters
        self.pairs, terms, finite = [], [], True
        for last in self.each_part():
            with self.exchange(self.net_g, last):
                losses = self.compute_losses()
                self.pairs.append((self.gt, self.output.detach()))
                if not learns:
                    continue
                if self.started("gan"):
                    losses["l_g_gan"] = self.generator_gan_loss()
                terms.append(losses)
                finite = finite and self.all_finite(losses, self.current_iter)
                if finite:
                    self.precision.backward(sum(losses.values()) / self.parts)
        if learns and finite:
            self.before_step(self.current_iter)
            self.precision.step(self.optimizer_g)
        return accumulation.mean(terms), finite

    def compute_losses(self) -> OrderedDict:
        """Runs the generator on ``self.lq``; returns its weighted loss terms apart from the adversarial one."""
        wavelets = None
        if self.cri_wavelet:
            out = self.run_generator(return_aux=True)
            if not hasattr(out, "wavelets"):
                raise UsageError("train.wavelet_opt: this network predicts no wavelet coefficients; use WIPA, wavelet: true")
            wavelets = out.wavelets
        else:
            self.run_generator()
        losses = OrderedDict()
        if self.cri_pix:
            losses["l_g_pix"] = self.cri_pix(self.output, self.gt)
        if self.started("content"):
            losses.update(self.content_losses(wavelets))
        return losses

    def content_losses(self, wavelets: tuple[torch.Tensor, ...] | None) -> OrderedDict:
        """Perceptual, wavelet and identity terms of ``self.output``, as far as the options name them."""
        losses = OrderedDict()
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(self.output, self.gt)
            terms = (("l_g_percep", perceptual), ("l_g_style", style))
            losses.update({name: term for name, term in terms if term is not None})
        if self.cri_wavelet:
            losses["l_g_wavelet"] = self.cri_wavelet(wavelets, self.gt)
        if self.cri_identity:
            losses["l_g_identity"] = self.cri_identity(self.output, self.gt)
        return losses

    def generator_gan_loss(self) -> torch.Tensor:
        """Weighted adversarial term of ``self.output``; scalar."""
        fake = self.run(self.net_d, self.output)
        if not isinstance(self.cri_gan, RelativisticHingeGANLoss):
            return self.cri_gan(fake, True, is_disc=False)
        with torch.no_grad():
            real = self.run(self.net_d, self.gt)
        return self.cri_gan.generator(real, fake)

    def optimize_discriminator(self) -> tuple[OrderedDict, bool]:
        """Updates the discriminator on ``self.pairs``. Returns its loss terms and mean answers, and whether they are finite."""
        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad(set_to_none=True)
        add_gradients = self.relativistic_gradients if isinstance(self.cri_gan, RelativisticHingeGANLoss) else self.gan_gradients
        terms = [add_gradients(*pair, last=number == self.parts) for number, pair in enumerate(self.pairs, start=1)]
        losses = accumulation.mean(terms)
        finite = self.all_finite(losses, self.current_iter)
        if finite:
            self.precision.step(self.optimizer_d)
        return losses, finite

    def relativistic_gradients(self, real: torch.Tensor, fake: torch.Tensor, last: bool) -> OrderedDict:
        """Adds the discriminator's gradients for true and predicted images judged together. Returns terms and mean answers."""
        criterion = cast(RelativisticHingeGANLoss, self.cri_gan)
        with self.exchange(self.net_d, last):
            answers = {side: self.run(self.net_d, image) for side, image in (("real", real), ("fake", fake))}
            losses = OrderedDict(zip(("l_d_real", "l_d_fake"), criterion.discriminator(**answers)))
            self.precision.backward(checks.total(losses.values()) / self.parts)
        losses.update({f"out_d_{side}": answer.mean() for side, answer in answers.items()})
        return losses

    def gan_gradients(self, real: torch.Tensor, fake: torch.Tensor, last: bool) -> OrderedDict:
        """The same for losses that judge one image; one side after the other, as in the framework, to spare memory."""
        losses, means = OrderedDict(), OrderedDict()
        for side, image in (("real", real), ("fake", fake)):
            with self.exchange(self.net_d, last and side == "fake"):
                answer = self.run(self.net_d, image)
                losses[f"l_d_{side}"] = self.cri_gan(answer, side == "real", is_disc=True)
                self.precision.backward(losses[f"l_d_{side}"] / self.parts)
            means[f"out_d_{side}"] = answer.mean()
        losses.update(means)
        return losses

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes ``net_d_ITERATION.pth`` as well."""
        self.finite.settle()
        self.save_network(self.net_d, "net_d", current_iter)
        super().save(epoch, current_iter)
