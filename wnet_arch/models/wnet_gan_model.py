"""Adversarial training of W-Net: sharper faces, at the price of PSNR."""

from __future__ import annotations

from collections import OrderedDict

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from wnet_arch.losses.shifting import random_crop
from wnet_arch.models.face_gan_model import FaceGANModel
from wnet_arch.models.wnet_model import WNetModel


@MODEL_REGISTRY.register()
class WNetGANModel(WNetModel, FaceGANModel):
    """WNetModel and a discriminator: ``train.wnet_opt`` beside ``network_d``, ``train.gan_opt`` and ``train.optim_d``.

    Options of the adversarial part are those of :class:`~wnet_arch.models.face_gan_model.FaceGANModel`, but for its content
    losses, whose place W-Net's loss takes. With ``image_weight`` above 0, that has a perceptual term of the whole image.
    ``train.gan_shift``: pixels that are cut off at random sides before the discriminator, see
    :func:`~wnet_arch.losses.shifting.random_crop`; for one that takes images of any size.
    """

    @staticmethod
    def check_options(opt: dict) -> None:
        """Raises :class:`~wnet_arch.errors.UsageError` unless there is a loss and what an adversarial training needs."""
        WNetModel.check_options(opt)
        FaceGANModel.check_options(opt)

    def init_losses(self) -> None:
        """Builds W-Net's loss and the adversarial one."""
        WNetModel.init_losses(self)
        self.init_adversarial_loss()

    def run(self, net: nn.Module, *inputs: torch.Tensor, **options):
        """As every model; the discriminator sees random crops."""
        if net is self.net_d:
            inputs = random_crop(self.opt["train"].get("gan_shift", 0), *inputs)
        return super().run(net, *inputs, **options)

    def compute_losses(self) -> OrderedDict:
        """W-Net's terms, each of the generator's: ``l_g_pix``, ``l_g_parsing``, ..."""
        terms = WNetModel.compute_losses(self)
        return OrderedDict((name.replace("l_", "l_g_", 1), term) for name, term in terms.items())
