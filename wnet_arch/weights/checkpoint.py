"""Checkpoint files: BasicSR's ``.pth`` and ``.state``, and ``.safetensors``. Never unpickles code.

A file is written beside its name and renamed, so it is whole or not there. Its SHA-256 is inside (:mod:`wnet_arch.weights.seals`),
and a file that differs is refused. Files of earlier versions have it beside them, in ``FILE.sha256``, which still counts for those.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wnet_arch import disk
from wnet_arch.errors import WeightsError, WNetError
from wnet_arch.weights import pth, seals, shipped
from wnet_arch.weights.hashing import sha256_file

SUFFIX = ".sha256"


def write(content: dict, path: str | os.PathLike) -> str:
    """Saves a checkpoint with its checksum; returns the checksum.

    Raises:
        WNetError: the disk cannot be written. An earlier file of this name is then still there.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        torch.save(content, part)
        digest = seals.seal_archive(part)
        seals.rename(part, path)
        _sum_file(path).unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        reason = disk.reason(error, part, "go on with --auto_resume")
        with contextlib.suppress(OSError):
            part.unlink()
        raise WNetError(f"cannot save {path}: {reason}") from error
    return digest


def verify(path: str | os.PathLike) -> str | None:
    """Compares a file with its checksum.

    Returns:
        The checksum, or ``None`` if none was written; the file is then whole as far as its format can tell.

    Raises:
        WeightsError: they differ, or one of the files cannot be read.
    """
    path = Path(path)
    expected = None
    try:
        noted = re.match(rb"[0-9a-f]{64}(?= )", _sum_file(path).read_bytes())
        expected = noted and noted[0].decode()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WeightsError(f"{_sum_file(path)} cannot be read ({error.strerror})") from error
    sealed = seals.check(path)
    if sealed or expected is None:  # what is empty, or cut off, was being written when the machine stopped
        return sealed
    found = sha256_file(path)
    if found != expected:
        raise WeightsError(f"{path} is damaged: its sha256 is {found}, {_sum_file(path).name} says {expected}")
    return found


def remove(path: str | os.PathLike) -> None:
    """Removes a checkpoint and its checksum, if they are there."""
    Path(path).unlink(missing_ok=True)
    _sum_file(Path(path)).unlink(missing_ok=True)


def _sum_file(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def read_state_dict(path: str, param_key: str | None = "params") -> dict[str, torch.Tensor]:
    """Reads the weights of one network.

    Args:
        path: a ``.pth`` file of BasicSR (``{"params": ..., "params_ema": ...}``), a bare state dict, ``.safetensors``, or the name
            of a shipped network.
        param_key: which entry to take; ``params`` where the file has no ``params_ema``. Ignored for files without entries.

    Returns:
        Parameter names (without ``module.``) to tensors, on the CPU.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    path = shipped.file_of(str(path))
    if not os.path.isfile(path):
        raise WeightsError(f"there is no weights file {path}")
    if verify(path) is None and not (seals.is_archive(path) or shipped.owns(path)):
        seals.note_foreign(str(path))
    try:
        if str(path).endswith(".safetensors"):
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = pth.load(path)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} is not a readable weights file: {pth.why(path, error)}") from error
    if isinstance(state, dict) and param_key in ("params", "params_ema") and "params" in state:
        state = state.get(param_key, state["params"])
    elif isinstance(state, dict) and param_key in state and isinstance(state[param_key], dict):
        state = state[param_key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold the weights of a network")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_into(net: nn.Module, path: str, param_key: str | None = "params", strict: bool = True) -> list[str]:
    """Loads weights into a network.

    Args:
        net: the bare network.
        path, param_key: as for :func:`read_state_dict`.
        strict: demand that every name and shape agrees. Otherwise what agrees is loaded, and nothing else.

    Returns:
        Names of the network's tensors that were not loaded; none where ``strict``.

    Raises:
        WeightsError: the weights are those of another configuration, of which the first differences are named; or nothing agrees.
    """
    state = read_state_dict(path, param_key)
    own = net.state_dict()
    differences = [name for name in own | state if _shape(state, name) != _shape(own, name)]
    if differences and strict:
        named = [f"{n} is {_shape(state, n)} in the file, {_shape(own, n)} in the network" for n in differences[:3]]
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise WeightsError(f"{path} was made for another configuration of {type(net).__name__}: {'; '.join(named)}{more}")
    agreeing = {name: value for name, value in state.items() if name not in differences}
    if own and not agreeing:
        raise WeightsError(f"{path} holds nothing of {type(net).__name__}: no tensor has name and shape of one of its own")
    net.load_state_dict(agreeing, strict=strict)
    return [name for name in own if name not in agreeing]


def _shape(state: dict[str, torch.Tensor], name: str):
    return list(state[name].shape) if name in state else "absent"
