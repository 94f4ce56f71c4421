"""Parts of a network that a training leaves as they are (``train.frozen``)."""

from __future__ import annotations

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
        found = [parameter for name, parameter in net.named_parameters() if f"{name}.".startswith(f"{part}.")]
        if not found:
            depth = part.count(".") + 1
            known = {".".join(name.split(".")[:depth]) for name, _ in net.named_parameters()}
            raise UsageError(f"train.frozen: {type(net).__name__} has no part '{part}'{did_you_mean(part, known)}")
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise UsageError(f"train.frozen: nothing of {type(net).__name__} would be left to train")
