"""Parts of a network that a training leaves as they are (``train.frozen``), or trains faster or more slowly (``train.lr_mult``)."""

from __future__ import annotations

import torch
from torch import nn

from wnet_arch.errors import UsageError, did_you_mean


def freeze(net: nn.Module, parts: str | list[str] | None) -> None:
    """Takes the parameters of some modules out of the training; running statistics of norms in them still move.

    Args:
        net: the bare network.
        parts: names of modules or parameters as in its weights file, ``trunk.body`` for instance.

    Raises:
        UsageError: the network has no such part, or nothing would be left to train.
    """
    for part in [parts] if isinstance(parts, str) else parts or []:
        for parameter in _of_part(net, part, "train.frozen"):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise UsageError(f"train.frozen: nothing of {type(net).__name__} would be left to train")


def rate_factors(net: nn.Module, parts: dict[str, float] | None) -> dict[nn.Parameter, float]:
    """The factors of ``train.lr_mult`` for each parameter that has one. Of a part inside another one, the inner one counts.

    Args:
        net: the bare network, frozen where it is to be.
        parts: factors by names of modules or parameters as in its weights file.

    Raises:
        UsageError: the network has no such part, or all of it is frozen.
    """
    factors: dict[nn.Parameter, float] = {}
    for part, factor in sorted((parts or {}).items(), key=lambda item: item[0].count(".")):
        found = [parameter for parameter in _of_part(net, part, "train.lr_mult") if parameter.requires_grad]
        if not found:
            raise UsageError(f"train.lr_mult: '{part}' does not learn, train.frozen has it; leave it out of one of the two")
        factors |= dict.fromkeys(found, factor)
    return factors


def set_rates(optimizer: torch.optim.Optimizer, factors: dict[nn.Parameter, float]) -> None:
    """Multiplies learning rates: each group of an optimizer becomes one for each factor in it, with its other options.

    Args:
        optimizer: that has not stepped yet, and has no schedule.
        factors: of :func:`rate_factors`.
    """
    groups = []
    for group in optimizer.param_groups:
        members: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            members.setdefault(factors.get(parameter, 1), []).append(parameter)
        groups += [{**group, "params": parameters, "lr": group["lr"] * factor} for factor, parameters in members.items()]
    optimizer.param_groups[:] = groups


def _of_part(net: nn.Module, part: str, option: str) -> list[nn.Parameter]:
    found = [parameter for name, parameter in net.named_parameters() if f"{name}.".startswith(f"{part}.")]
    if not found:
        depth = part.count(".") + 1
        known = {".".join(name.split(".")[:depth]) for name, _ in net.named_parameters()}
        raise UsageError(f"{option}: {type(net).__name__} has no part '{part}'{did_you_mean(part, known)}")
    return found
