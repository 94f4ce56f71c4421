"""Less memory in training, for every network: blocks keep only their inputs, and are computed again in the backward pass.

That is one more forward pass of the blocks a training step, about a third more time. ``wnet profile --memory`` counts what is
kept; docs/reference/networks.md has a table.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from wnet_arch.archs.ops.recompute import moving_norms, recomputed
from wnet_arch.errors import UsageError
from wnet_arch.training.logs import get_root_logger

#: Convolutions in a row from which on a plain Sequential is computed again in segments.
LONG_CHAIN = 8
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def switch_on(net: nn.Module, compiled: bool = False) -> None:
    """Makes the blocks of a network that is going to be trained keep only their inputs, and says how many do.

    Args:
        net: the bare network.
        compiled: it is going to be run through ``torch.compile``.

    Raises:
        UsageError: the network has no such blocks; or its running statistics cannot be kept right with ``torch.compile``.
    """
    name, count = type(net).__name__, checkpoint_blocks(net)
    if not count:
        raise UsageError(f"train.grad_checkpointing: {name} has no repeated blocks to compute again; set it to false")
    blocks = (module for module in net.modules() if isinstance(module, (_Checkpointed, _CheckpointedChain)))
    if compiled and any(map(moving_norms, blocks)):
        raise UsageError(
            f"train.grad_checkpointing: not with train.compile for {name}: compiled blocks would move the running statistics of "
            "BatchNorm twice; set one of the two to false"
        )
    get_root_logger().info(f"Gradient checkpointing: {count} blocks of {name} keep only their inputs for the backward pass")


def checkpoint_blocks(net: nn.Module) -> int:
    """Makes the repeated blocks of a network keep only their inputs while it is trained; returns how many there are.

    Blocks are the outermost modules with layers inside of a class that the network has more than once, and segments of long
    plain chains of convolutions. Outputs, gradients, running statistics of normalisation and random numbers are the same as
    without. Evaluation, names in the state dict, and copies of the network are not affected. A network that has a method
    ``set_grad_checkpointing`` knows better: that is called, and may return the number.

    Blocks whose weights are normalised anew in every forward pass (spectral norm) stay as they are: a second pass would
    change them.
    """
    own = getattr(net, "set_grad_checkpointing", None)
    if own is not None:
        count = own(True)
        return 1 if count is None else count
    counts = Counter(type(module) for module in _outermost_of_their_class(net))
    return _wrap(net, {cls for cls, count in counts.items() if count > 1})


def _wrap(module: nn.Module, repeated: set[type]) -> int:
    if isinstance(module, (_Checkpointed, _CheckpointedChain)):
        return 1
    if type(module) in repeated and not _changes_in_forward(module):
        module.__class__ = type(type(module).__name__, (_Checkpointed, type(module)), {})
        return 1
    if _is_long_chain(module) and not _changes_in_forward(module):
        module.__class__ = _CheckpointedChain
        return len(list(_segments(list(module.children()))))
    return sum(_wrap(child, repeated) for child in module.children())


def _outermost_of_their_class(module: nn.Module, above: frozenset = frozenset()) -> Iterator[nn.Module]:
    """Modules that could be blocks, without those inside one of the same class: the levels of an hourglass are one."""
    cls = type(module)
    if cls not in above and _could_be_a_block(module):
        yield module
    for child in module.children():
        yield from _outermost_of_their_class(child, above | {cls})


def _could_be_a_block(module: nn.Module) -> bool:
    """It can be called, is more than a container or a single layer, and has something worth computing again."""
    return (
        type(module) not in _CONTAINERS
        and type(module).forward is not nn.Module.forward
        and any(True for _ in module.children())
        and any(isinstance(layer, _LAYERS) for layer in module.modules())
    )


def _is_long_chain(module: nn.Module) -> bool:
    layers = list(module.children())
    plain = type(module) is nn.Sequential and not any(True for layer in layers for _ in layer.children())
    return plain and sum(isinstance(layer, _LAYERS) for layer in layers) >= LONG_CHAIN


def _changes_in_forward(block: nn.Module) -> bool:
    return any(is_parametrized(module) or module._forward_pre_hooks for module in block.modules())


class _Checkpointed(nn.Module):
    """Mixed into the class of a block, so that it stays what it is, copies included."""

    def forward(self, *inputs, **options):
        return _run(self, super().forward, *inputs, **options)


class _CheckpointedChain(nn.Sequential):
    """A Sequential that is computed again in segments of about the square root of its length."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for segment in _segments(list(self)):
            x = _run(self, lambda x, layers=segment: _through(layers, x), x)
        return x


def _segments(layers: list[nn.Module]) -> Iterator[list[nn.Module]]:
    size = math.isqrt(len(layers))
    return (layers[start : start + size] for start in range(0, len(layers), size))


def _through(layers: list[nn.Module], x: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _run(block: nn.Module, forward, *inputs, **options):
    """Runs a block; when it is being trained, so that it is computed again in the backward pass."""
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs, **options)
    return recomputed(forward, moving_norms(block), *inputs, **options)
