"""What a network computes, block by block: recorded while one face passes through it, for draw_networks.py.

Nothing here knows a network. The blocks are found among its modules, and what feeds what is seen in its forward pass, which runs
on torch's `meta` device: shapes without numbers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from wnet_arch.archs.base import FaceSRNetwork, create_network, enlarge
from wnet_arch.errors import NetworkError
from wnet_arch.words import counted

#: Side of the face that passes.
SIDE = 128
#: Functions that keep all values: they are not drawn. The second ones keep them where they keep the shape.
SILENT, RESIZING = ("contiguous", "to", "float", "clone", "detach"), ("interpolate", "pixel_unshuffle", "pixel_shuffle")
SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "cat": "Concatenate"}


@dataclass(eq=False)
class Node:
    """A block, or a function between blocks.

    ``name`` is the module's path in the network, or the function's name; ``kind`` is ``input``, ``block``, ``function`` or
    ``parameter``; ``inputs`` are the nodes that feed it, ``shapes`` what they bring and ``shape`` what it gives, (C, H, W);
    ``outputs`` are the network's outputs that it is, and ``order`` says when it was computed.
    """

    name: str
    kind: str
    label: str
    inputs: list[Node] = field(default_factory=list, repr=False)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    parameters: int = 0
    outputs: list[str] = field(default_factory=list)
    order: int = 0


@dataclass
class Record:
    """A network's nodes in the order in which they are computed, and how many parameters it has."""

    name: str
    scale: int
    options: dict
    nodes: list[Node]
    parameters: int


def record(name: str, scale: int = 8, **options) -> Record:
    """Builds a network and records a face's way through it.

    Raises:
        NetworkError: no such network or option; or a parameter that takes no part, a block whose input comes from where
            nothing can be seen, or something that is not an image.
    """
    with torch.device("meta"):
        net = create_network(name, scale, **options)
    return Record(name, scale, options, nodes_of(net), sum(parameter.numel() for parameter in net.parameters()))


def nodes_of(net: FaceSRNetwork) -> list[Node]:
    """The nodes of a network on the `meta` device, see :func:`record`."""
    net.eval()  # in training, W-Net computes parts of neighbouring blocks in one
    watch = Watch(net)
    with watch:
        lq = torch.empty(1, 3, SIDE // net.scale, SIDE // net.scale, device="meta", requires_grad=True)
        watch.know(lq, watch.add(Node("lq", "input", "LR face"), lq))
        out = net(lq, return_aux=True)
    for title, tensor in out._asdict().items():
        watch.source(tensor, f"output {title}").outputs.append(title)
    watch.check()
    return watch.nodes


def parts(net: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Path and module of every part, and whether it is opened: its children are parts too. The others are the blocks.

    Opened are the network, its trunk, lists, and sequences that do not repeat a pattern: 2 SCAB in a row are one block.
    """

    def walk(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
        opened = module in (net, net.trunk) or type(module) in (nn.ModuleList, nn.ModuleDict)
        opened = opened or (type(module) is nn.Sequential and pattern(module)[0] < 2)
        yield path, module, opened
        if opened:
            for name, child in module.named_children():
                yield from walk(f"{path}.{name}".lstrip("."), child)

    yield from walk("", net)


def pattern(sequence: nn.Sequential) -> tuple[int, list[nn.Module]]:
    """How often a sequence repeats its first modules, and those modules."""
    forms = [(type(module), [tuple(p.shape) for p in module.parameters()]) for module in sequence]
    for length in range(1, len(forms) // 2 + 1):
        if len(forms) % length == 0 and forms == forms[:length] * (len(forms) // length):
            return len(forms) // length, list(sequence)[:length]
    return 1, list(sequence)


def label_of(module: nn.Module) -> str:
    """``Parsing Block``, ``Conv 3×3``, ``2 × SCAB``."""
    if type(module) is nn.Sequential:
        count, repeated = pattern(module)
        names = ", ".join(map(label_of, repeated))
        return f"{count} × ({names})" if len(repeated) > 1 else f"{count} × {names}"
    if isinstance(module, nn.Conv2d):
        return "Conv {}×{}".format(*module.kernel_size)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", type(module).__name__)


class Watch(TorchFunctionMode):
    """Sees every block that is called and every function between them, and knows of every tensor which node it comes from."""

    def __init__(self, net: FaceSRNetwork):
        super().__init__()
        self.net = net
        self.nodes: list[Node] = []
        self.sources: dict[int, Node] = {}
        self.kept: list[torch.Tensor] = []  # so that no tensor gets the identity of another
        self.owned: dict[int, tuple[str, torch.Tensor]] = {}  # parameters that belong to no block
        self.counted: set[int] = set()
        self.inside = 0
        self.stack = ExitStack()

    def __enter__(self):
        for path, module, opened in parts(self.net):
            if opened:
                own = module.named_parameters(path, recurse=False)
                self.owned.update((id(parameter), (name, parameter)) for name, parameter in own)
            else:
                self._hook(path, module)
        for cls in type(self.net).__mro__:  # a function that is as much as a block
            module = sys.modules[cls.__module__]
            if getattr(module, "enlarge", None) is enlarge:
                self.stack.enter_context(mock.patch.object(module, "enlarge", self._enlarge))
        return super().__enter__()

    def __exit__(self, *error):
        self.stack.close()
        return super().__exit__(*error)

    def _hook(self, path: str, module: nn.Module) -> None:
        def before(*_) -> None:
            self.inside += 1

        def after(module: nn.Module, args: tuple, kwargs: dict, out) -> None:
            self.inside -= 1
            if not self.inside:
                node = Node(path, "block", label_of(module), parameters=self._count(module.parameters()))
                self._made(node, [*args, *kwargs.values()], out)

        for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after, with_kwargs=True)):
            self.stack.callback(handle.remove)

    def _enlarge(self, lq: torch.Tensor, scale: int) -> torch.Tensor:
        self.inside += 1
        out = enlarge(lq, scale)
        self.inside -= 1
        self._made(Node("enlarge", "function", f"Bicubic ×{scale}"), [lq], out)
        return out

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not self.inside:
            self._function(func.__name__.strip("_"), args, kwargs, out)
        return out

    def _function(self, name: str, args: tuple, kwargs: dict, out) -> None:
        given = list(tensors([args, kwargs]))
        made = list(tensors(out))
        known = [tensor for tensor in given if id(tensor) in self.sources or id(tensor) in self.owned]
        if not known or not made:
            return
        same = len(known) == 1 and made[0].shape == known[0].shape
        if same and (name in SILENT or name in RESIZING):
            self.know(made[0], self.source(known[0], name))
            return
        label = SIGNS.get(name, name)
        if name == "interpolate":
            label = str(kwargs.get("mode", "nearest")).capitalize()
            again = self._found(label, self.source(known[0], name), made[0])
            if again:
                self.know(made[0], again)
                return
        numbers = [f"{number:g}" for number in args if isinstance(number, (int, float)) and name in SIGNS]
        self._made(Node(name, "function", " ".join([label, *numbers])), given, out)

    def _found(self, label: str, source: Node, out: torch.Tensor) -> Node | None:
        """The same map enlarged to the same size before."""
        for node in self.nodes:
            if node.label == label and node.inputs == [source] and node.shape == tuple(out.shape[1:]):
                return node
        return None

    def _made(self, node: Node, given: list, out) -> None:
        for tensor in tensors(given):
            if node.kind == "function" and id(tensor) not in self.sources and id(tensor) not in self.owned:
                continue  # a constant
            node.inputs.append(self.source(tensor, node.name))
            node.shapes.append(tuple(tensor.shape[1:]))
        made = list(tensors(out))
        if not node.inputs or not made:
            raise NetworkError(f"{self._title()}: {node.name} takes or gives no image; it cannot be drawn")
        self.add(node, made[0])
        for tensor in made:
            self.know(tensor, node)

    def add(self, node: Node, out: torch.Tensor) -> Node:
        """Lists a node with the shape that it gives."""
        node.shape = tuple(out.shape[1:])
        if len(node.shape) != 3 or node.shape[1] != node.shape[2]:
            raise NetworkError(
                f"{self._title()}: {node.name} gives {tuple(out.shape)}, which is no square image; it cannot be drawn"
            )
        node.order = len(self.nodes)
        self.nodes.append(node)
        return node

    def know(self, tensor: torch.Tensor, node: Node) -> None:
        """Remembers that a tensor comes from a node."""
        self.sources[id(tensor)] = node
        self.kept.append(tensor)

    def source(self, tensor: torch.Tensor, asked: str) -> Node:
        """The node that a tensor comes from."""
        if id(tensor) in self.owned and id(tensor) not in self.sources:
            path, parameter = self.owned[id(tensor)]
            self.know(
                tensor, self.add(Node(path, "parameter", path.rpartition(".")[2], parameters=self._count([parameter])), tensor)
            )
        if id(tensor) not in self.sources:
            raise NetworkError(f"{self._title()}: what feeds {asked} was not seen, so it cannot be drawn")
        return self.sources[id(tensor)]

    def _count(self, parameters) -> int:
        """Numbers of those parameters that no earlier node has."""
        new = {id(parameter): parameter.numel() for parameter in parameters if id(parameter) not in self.counted}
        self.counted.update(new)
        return sum(new.values())

    def check(self) -> None:
        """Raises :class:`NetworkError` unless every parameter is a node's."""
        missing = [(name, p.numel()) for name, p in self.net.named_parameters() if id(p) not in self.counted]
        if missing:
            names = missing[0][0] + (f" and {counted(len(missing) - 1, 'other')}" if len(missing) > 1 else "")
            total = sum(count for _, count in missing)
            why = f"{names} ({counted(total, 'parameter')}) not used in the forward pass, so a diagram would not show them"
            raise NetworkError(f"{self._title()}: {why}")

    def _title(self) -> str:
        return f"{type(self.net).__name__} x{self.net.scale}"


def tensors(value) -> Iterator[torch.Tensor]:
    """Every tensor of nested lists, tuples and dictionaries."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from tensors(entry)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
