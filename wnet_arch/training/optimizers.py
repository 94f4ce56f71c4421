"""Optimizers that ``train.optim_g`` and ``optim_d`` can name: those of ``torch.optim``, and Muon for convolutions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

import pytorch_optimizer
import torch
from pytorch_optimizer.optimizer.utils.matrix import zero_power_via_gram_newton_schulz
from torch import nn

from wnet_arch.errors import UsageError, did_you_mean


class Muon(pytorch_optimizer.Muon):
    """Muon (Jordan et al., 2024) for the matrices of a network, Adam for all else.

    The momentum of a weight is replaced by the orthogonal matrix next to it (five Newton-Schulz steps), scaled by
    ``0.2 * sqrt(longer side)``, so that its entries are as large as those of Adam's steps (Liu et al., "Muon is scalable for LLM
    training", 2025). The kernels of a convolution are a matrix of (outputs, inputs x height x width). Biases, norms and depthwise
    kernels, which are vectors for each channel, go by Adam. PyTorch's own ``Muon`` refuses convolutions, so this one has its name.

    Args:
        params: parameters, in one list.
        lr: learning rate of matrices.
        adam_lr: learning rate of all else; a quarter of ``lr`` where not given.
        momentum: of matrices.
        nesterov: look one step of momentum ahead.
        weight_decay: pull of all weights towards 0, apart from the gradient (as AdamW has it).
        betas: Adam's averages, for all else.
        precision: the format of the Newton-Schulz steps, ``bf16`` or ``fp32``. Bfloat16 is what the method was published with; on
            CPUs without instructions for it each product is emulated, and float32 is many times as fast (docs/results/speed.md).
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 2e-3, adam_lr: float | None = None, momentum: float = 0.95,
        nesterov: bool = True, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.99), precision: str = "bf16",
    ):  # fmt: skip
        if precision not in ("bf16", "fp32"):
            raise UsageError(f"Muon: precision must be bf16 or fp32, not {precision!r}")
        params = list(params)
        matrices = [parameter for parameter in params if is_matrix(parameter)]
        others = [parameter for parameter in params if not is_matrix(parameter)]
        groups = [
            {"params": matrices, "use_muon": True, "lr": lr, "momentum": momentum, "nesterov": nesterov, "use_adjusted_lr": True,
             "weight_decay": weight_decay, "precision": precision},
            {"params": others, "use_muon": False, "lr": lr / 4 if adam_lr is None else adam_lr, "betas": tuple(betas), "eps": 1e-8,
             "weight_decay": weight_decay},
        ]  # fmt: skip
        super().__init__([group for group in groups if group["params"]])

    @staticmethod
    def _orthogonalize(group: dict, updates: list[torch.Tensor]) -> list[torch.Tensor]:
        """The package's, for matrices of one shape; in float32 by the iteration on their products, which are smaller."""
        if group.get("precision") != "fp32":  # nor have states of runs that were begun before there was a choice
            return pytorch_optimizer.Muon._orthogonalize(group, updates)
        wide = torch.stack([_wide(update.flatten(1)) for update in updates])
        found = zero_power_via_gram_newton_schulz(wide, group["ns_steps"], weights=group["ns_coeffs"], dtype=torch.float32)
        return [one if len(update) == len(one) else one.mT for one, update in zip(found, updates)]


def _wide(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.mT if matrix.size(0) > matrix.size(1) else matrix


def is_matrix(parameter: torch.Tensor) -> bool:
    """Whether a parameter maps several channels to several: a linear layer's weight or a convolution's, not a depthwise one's."""
    return parameter.ndim in (2, 4) and min(parameter.shape[:2]) > 1


def optimizers() -> dict[str, Callable[..., torch.optim.Optimizer]]:
    """The optimizers that a training can step, by name."""
    found = {n: c for n, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)}
    found.pop("Optimizer", None)
    steps = {name: optimizer for name, optimizer in found.items() if _steps_alone(optimizer)}
    return {**steps, "Muon": Muon}


def create(name: str, params, device: torch.device, precision: str = "fp32", /, **options) -> torch.optim.Optimizer:
    """The optimizer of a name of ``torch.optim``, or :class:`Muon`.

    Args:
        name: its ``type`` in the options.
        params: of the network.
        device: where they are.
        precision: what the network is trained in, ``train.precision``; Muon iterates in float32 where that is ``fp32``.
        **options: its arguments, ``lr`` for one.

    Raises:
        UsageError: none is called so.
    """
    known = optimizers()
    if name not in known:
        raise UsageError(f"train: no optimizer is called '{name}'{did_you_mean(name, known)}")
    usual = {"precision": "fp32" if precision == "fp32" else "bf16"} if known[name] is Muon else {}
    return known[name](params, **{**usual, **fused_where_there_is(known[name], device, options), **options})


def fused_where_there_is(kind: Callable[..., torch.optim.Optimizer], device: torch.device, given: dict) -> dict[str, bool]:
    """``{"fused": True}`` for optimizers that have it (Adam, AdamW) on a GPU, where one kernel steps all weights; else nothing.

    Args:
        kind: the optimizer's class.
        device: of its parameters.
        given: options of the file, which may decide otherwise.
    """
    other = {"fused", "foreach", "differentiable"} & {key for key, value in given.items() if value is not None}
    if device.type != "cuda" or other or kind not in (torch.optim.Adam, torch.optim.AdamW):
        return {}
    return {"fused": True}


def _steps_alone(optimizer: type[torch.optim.Optimizer]) -> bool:
    """Whether it steps without a function that computes the loss again, as LBFGS needs one, and by dense gradients."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return (closure is None or closure.default is not inspect.Parameter.empty) and optimizer is not torch.optim.SparseAdam
