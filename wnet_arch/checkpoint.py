"""Reading network weights: BasicSR's ``.pth`` files and ``.safetensors``, never unpickling code."""

from __future__ import annotations

import os

import torch
from torch import nn

from wnet_arch.errors import WeightsError


def read_state_dict(path: str, param_key: str | None = "params") -> dict[str, torch.Tensor]:
    """Reads the weights of one network.

    Args:
        path: a ``.pth`` file of BasicSR (``{"params": ..., "params_ema": ...}``), a bare state dict, or ``.safetensors``.
        param_key: which entry to take; ``params`` where the file has no ``params_ema``. Ignored for files without entries.

    Returns:
        Parameter names (without ``module.``) to tensors, on the CPU.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    if not os.path.isfile(path):
        raise WeightsError(f"there is no weights file {path}")
    try:
        if str(path).endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} is not a readable weights file ({reason})") from error
    if isinstance(state, dict) and param_key in ("params", "params_ema") and "params" in state:
        state = state.get(param_key, state["params"])
    elif isinstance(state, dict) and param_key in state and isinstance(state[param_key], dict):
        state = state[param_key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold the weights of a network")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_into(net: nn.Module, path: str, param_key: str | None = "params", strict: bool = True) -> None:
    """Loads weights into a network.

    Args:
        net: the bare network.
        path, param_key: as for :func:`read_state_dict`.
        strict: demand that every name and shape agrees. Otherwise what agrees is loaded, and nothing else.

    Raises:
        WeightsError: the weights are those of another configuration; the first differences are named.
    """
    state = read_state_dict(path, param_key)
    own = net.state_dict()
    differences = [name for name in own | state if _shape(state, name) != _shape(own, name)]
    if differences and strict:
        named = [f"{n} is {_shape(state, n)} in the file, {_shape(own, n)} in the network" for n in differences[:3]]
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise WeightsError(f"{path} was made for another configuration of {type(net).__name__}: {'; '.join(named)}{more}")
    net.load_state_dict({name: value for name, value in state.items() if name not in differences}, strict=strict)


def _shape(state: dict[str, torch.Tensor], name: str):
    return list(state[name].shape) if name in state else "absent"
