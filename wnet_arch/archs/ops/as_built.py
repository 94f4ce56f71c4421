"""Whether modules are still what a shortcut was written for: code that computes what they would, without calling them.

A shortcut reads weights and takes the rest for granted: the type of each layer, its padding, that nobody listens. Whoever
exchanges a part of a network has to get the network with that part, so a shortcut asks here first, and otherwise the modules are
called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from operator import is_
from typing import TypeGuard

import torch
from torch import nn
from torch.nn.modules import module as torch_module

#: Where a module, and torch for all modules, keeps those who listen to a forward or backward pass.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
#: The methods of each class whose computation is known, as they were when it was defined.
_KNOWN: dict[type, dict[str, Callable]] = {}


def known(cls: type[nn.Module]) -> type[nn.Module]:
    """Class decorator: shortcuts know what this class computes. Not what its subclasses do."""
    owners = [base for base in cls.__mro__ if base not in (nn.Module, object)]
    names = {name for base in owners for name, value in vars(base).items() if callable(value) and not name.startswith("__")}
    _KNOWN[cls] = {name: getattr(cls, name) for name in (*names, "forward", "__call__", "_call_impl")}
    return cls


for _cls in (
    nn.AdaptiveAvgPool2d, nn.BatchNorm2d, nn.Conv2d, nn.GroupNorm, nn.Identity, nn.ModuleList, nn.PixelShuffle,
    nn.PixelUnshuffle, nn.ReLU, nn.Sequential, nn.Sigmoid,
):  # fmt: skip
    known(_cls)


def untouched(*modules: nn.Module) -> bool:
    """Whether modules compute what their classes do: known ones, no method replaced, no hooks, weights of no other origin."""
    return all(map(_untouched, modules))


def _untouched(module: nn.Module) -> bool:
    methods = _KNOWN.get(type(module))
    if methods is None or any(getattr(module, hooks) for hooks in _HOOKS) or _hooks_on_all():
        return False
    return not any(name in module.__dict__ for name in methods) and _as_defined(type(module))


def _hooks_on_all() -> bool:
    """Whether hooks of somebody else's are on all modules. Those of torch, which count operations, change nothing."""
    hooks = (hook for name in _HOOKS for hook in getattr(torch_module, f"_global{name}").values())
    return any(not str(getattr(hook, "__module__", "")).startswith("torch.") for hook in hooks)


def _as_defined(cls: type) -> bool:
    return all(getattr(cls, name) is method for name, method in _KNOWN[cls].items())


def is_conv(
    module: nn.Module, size: int, num_in: int | None = None, num_out: int | None = None, bias: bool = True
) -> TypeGuard[nn.Conv2d]:
    """Whether a module is ``nn.Conv2d``, ``size`` x ``size``, stride 1, padded with zeros to keep the size; channels if given."""
    if type(module) is not nn.Conv2d or not untouched(module):
        return False
    weight, half = module.weight, (size // 2, size // 2)
    if not isinstance(module.padding, tuple) or (module.padding_mode, module.groups) != ("zeros", 1):
        return False
    if (module.stride, module.padding, module.dilation) != ((1, 1), half, (1, 1)) or not is_weight(weight):
        return False
    if weight.shape[2:] != (size, size) or (module.bias is not None) != bias or (bias and not is_weight(module.bias)):
        return False
    return num_in in (None, weight.shape[1]) and num_out in (None, weight.shape[0])


def is_norm(module: nn.Module, channels: int) -> bool:
    """Whether a module is ``nn.BatchNorm2d`` that has statistics, factors and shifts."""
    if type(module) is not nn.BatchNorm2d or not untouched(module):
        return False
    own = (module.weight, module.bias)
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None or not all(map(is_weight, own)):
        return False
    return all(len(value) == channels for value in (*own, mean, variance))


def is_weight(value: torch.Tensor | None) -> bool:
    """Whether a value is a plain parameter, no result of a parametrisation and no tensor of another class."""
    return type(value) is nn.Parameter


class Watch:
    """Tells whether a tree of modules still consists of what it consisted of: modules, tensors, hooks, methods, every attribute.

    Objects are compared, not values, so a look reads no tensor; W-Net's 600 modules take a fraction of a millisecond.
    """

    def __init__(self, root: nn.Module):
        self.modules = list(root.modules())
        states = [module.__dict__ for module in self.modules]
        self.dicts = states + [state[kind] for state in states for kind in ("_modules", "_parameters", "_buffers")]
        self.hooks = [state[kind] for state in states for kind in ("_forward_hooks", "_forward_pre_hooks")]
        self.known = [cls for cls in dict.fromkeys(map(type, self.modules)) if cls in _KNOWN]
        self.parts = list(self._parts())
        self.touched = self._touched()

    def unchanged(self) -> bool:
        """Whether nothing of the tree was exchanged since, and nobody has begun or ceased to watch it."""
        return all(map(is_, chain(self.parts, (self,)), chain(self._parts(), (self,)))) and self.touched == self._touched()

    def _parts(self) -> Iterator:
        return chain(map(type, self.modules), chain.from_iterable(map(dict.values, self.dicts)))

    def _touched(self) -> bool:
        return any(self.hooks) or _hooks_on_all() or not all(map(_as_defined, self.known))


class Contents:
    """Tells whether tensors were written to, even behind autograd's back (through ``.data``, as averages of weights often are).

    Args:
        tensors: of one device; counters and other whole numbers are left out.
    """

    def __init__(self, tensors: list[torch.Tensor]):
        self.tensors = [tensor for tensor in tensors if tensor.is_floating_point()]
        self.device = self.tensors[0].device
        self.places = self._places()
        self.memory = [self._in_memory_order(tensor.detach()) for tensor in self.tensors]
        self.then = [tensor.clone() for tensor in self.memory] if self.device.type == "cpu" else [self._joined()]

    def written(self) -> bool:
        """What can be told without reading them: other memory, or a write that autograd counted."""
        return self.places != self._places()

    def comparison(self) -> Callable[[], bool]:
        """Starts to compare all values with those of before; the function it returns says whether any differs.

        A GPU compares in the order of its queue, and only that function waits for the result: whoever has queued enough work
        before calling it leaves no gap.
        """
        if self.device.type == "cpu":
            return lambda: not all(map(torch.equal, self.memory, self.then))
        differs = self._joined().ne(self.then[0]).any()
        found = torch.empty(1, dtype=torch.bool, pin_memory=True)
        found.copy_(differs.reshape(1), non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self.device))

        def result() -> bool:
            done.synchronize()
            return bool(found)

        return result

    def _places(self) -> list[tuple[int, int]]:
        return [(tensor.data_ptr(), tensor._version) for tensor in self.tensors]

    def _joined(self) -> torch.Tensor:
        return torch.cat([tensor.reshape(-1) for tensor in self.memory])

    @staticmethod
    def _in_memory_order(tensor: torch.Tensor) -> torch.Tensor:
        """A view with the dimensions in the order of memory: it is compared fastest, and flattened without a copy."""
        return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride().__getitem__, reverse=True))
