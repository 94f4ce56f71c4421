"""Networks that estimate a parsing map, and can be given another: to train with the true one, or to test whether the map guides."""

from __future__ import annotations

from abc import abstractmethod

import torch

from wnet_arch.archs.base import FaceSRNetwork
from wnet_arch.archs.wnet_blocks import PARSING_CHANNELS
from wnet_arch.errors import NetworkError


class MapGuidedNetwork(FaceSRNetwork):
    """Base of networks whose output has a field ``parsing``, which another map can stand for."""

    def forward(self, lq: torch.Tensor, return_aux: bool = False, parsing: torch.Tensor | None = None):
        """As every network; with a map of one's own, if one is given.

        Args:
            lq, return_aux: see :meth:`FaceSRNetwork.forward`.
            parsing: (B, 3, scale * h, scale * w), stands for the map that the network would estimate: with the true map
                the result shows what a perfect estimate would be worth.

        Raises:
            NetworkError: the input or the map has another shape or type.
        """
        if parsing is None:
            return super().forward(lq, return_aux)
        self.check_input(lq)
        name = f"{type(self).__name__} x{self.scale}"
        if not isinstance(parsing, torch.Tensor) or not parsing.is_floating_point():
            kind = parsing.dtype if isinstance(parsing, torch.Tensor) else type(parsing).__name__
            raise NetworkError(f"{name} takes parsing as a float tensor in [0, 1], not {kind}; of a mask: mask.float()")
        wanted = (len(lq), PARSING_CHANNELS, *(side * self.scale for side in lq.shape[-2:]))
        if tuple(parsing.shape) != wanted:
            raise NetworkError(f"{name} takes parsing of shape {wanted} for this input, not {tuple(parsing.shape)}")
        out = self.super_resolve_guided(lq, parsing.to(lq.dtype))
        return out if return_aux else out[0]

    @abstractmethod
    def super_resolve_guided(self, lq: torch.Tensor, parsing: torch.Tensor) -> tuple:
        """As :meth:`super_resolve`, with this map (B, 3, scale * h, scale * w)."""
