"""How a network is run in training: number format, memory layout, compilation, clipping of gradients."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.training import distributed, own_layers, run_log
from wnet_arch.training.logs import get_root_logger

AUTO = "auto"
_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16, AUTO: None}
#: Time in bf16, relative to float32, above which a training says so.
_SLOW = 1.5
#: Side of the faces that a layer of the network is measured with.
_FACE_SIZE = 128


@functools.cache
def layer_times(conv: own_layers.Convolution, device: str) -> dict[tuple[str, bool], float]:
    """Seconds of a convolution, forward and backward, in float32 and bfloat16, channels beside each other in memory or not.

    Bfloat16 takes about half the time on CPUs with AVX-512 BF16; 10 times and more were seen on one with AVX2 alone, where every
    product is emulated.

    Args:
        conv: a network's own; of a very large one a part is measured.
        device: ``cpu`` or ``cuda``.
    """
    part = conv.at_most(own_layers.LARGEST[device])
    found = {}
    for name, last in itertools.product(("fp32", "bf16"), (False, True)):
        layout = torch.channels_last if last else torch.contiguous_format
        found[name, last] = own_layers.seconds(part, device, _TYPES[name] or torch.float32, layout)
    return found


class Precision:
    """Options of ``train``, alike for every network:

    * ``precision``: ``fp32`` (default), ``bf16``, ``fp16`` or ``auto``: the format of convolutions and matrix products, by
      autocast. Losses, weights, statistics of normalisation and the optimizer stay in float32, and softmax as autocast
      decides. With ``fp16`` losses are scaled, and steps whose gradients overflow are left out, as is usual.
    * ``channels_last``: channels beside each other in memory, which is faster with bf16, and on newer GPUs; or ``auto``.
    * ``compile``: run the network through ``torch.compile``.
    * ``grad_clip``: largest norm of all gradients of an optimizer together.

    ``auto`` is what :meth:`settle` finds faster for the layer of the network that takes most of its time, ``fp32`` or ``bf16``. A
    continued run keeps what was found at its begin. Validation always runs in float32.

    Raises:
        UsageError: an option has another type or value.
    """

    def __init__(self, train_opt: dict, device: str):
        name = train_opt.get("precision") or "fp32"
        if name not in _TYPES:
            raise UsageError(f"train.precision: '{name}' is none{did_you_mean(str(name), _TYPES)}")
        last = train_opt.get("channels_last") or False
        if not isinstance(last, bool) and last != AUTO:
            raise UsageError(f"train.channels_last must be true, false or {AUTO}, not {last!r}")
        if not isinstance(train_opt.get("compile") or False, bool):
            raise UsageError(f"train.compile must be true or false, not {train_opt['compile']!r}")
        clip = train_opt.get("grad_clip")
        if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float)) or clip <= 0):
            raise UsageError(f"train.grad_clip must be a number above 0, not {clip!r}")
        self.device, self.clip, self.compile = device, clip, bool(train_opt.get("compile"))
        self.asked = (name, last)
        self._use(*self.asked)
        self.scaler = torch.amp.GradScaler(device, enabled=name == "fp16")
        self._compiled: dict[nn.Module, Callable] = {}

    def _use(self, name: str, last: bool | str) -> None:
        self.name, self.dtype, self.last = name, _TYPES[name], last is True
        self.layout = torch.channels_last if self.last else torch.contiguous_format

    @property
    def is_open(self) -> bool:
        """Whether something is left to :meth:`settle`."""
        return AUTO in self.asked

    @property
    def settled(self) -> dict:
        """What is used, for a training's state."""
        return {"precision": self.name, "channels_last": self.last}

    def settle(self, net: nn.Module, shape: tuple[int, int, int, int] | None, before: dict | None = None) -> None:
        """Decides what was left open, the same in all processes; says so where bf16 was asked for and is slow.

        Args:
            net: the network, on any device.
            shape: of the LR faces of a step (B, 3, h, w); not needed with ``before``.
            before: what the run that is continued has ``settled``.
        """
        if self.is_open and before:
            self._use(before["precision"], before["channels_last"])
            return
        if shape is None or (not self.is_open and self.asked[0] != "bf16"):
            return
        conv = own_layers.heaviest(net, shape)
        times = layer_times(conv, self.device) if conv else {("fp32", False): 1.0}
        if self.is_open:
            fitting = {key: value for key, value in times.items() if all(a in (AUTO, b) for a, b in zip(self.asked, key))}
            self._use(*distributed.share(min(fitting, key=fitting.__getitem__) if fitting else ("fp32", False))[0])
            shown = f"precision {self.name}, channels_last {str(self.last).lower()}"
            get_root_logger().info(f"train: {shown}: the fastest for this network's largest layer")
        elif conv and times["bf16", self.last] > _SLOW * times["fp32", self.last]:
            ratio = times["bf16", self.last] / times["fp32", self.last]
            place = f"{ratio:.1f} times as long as fp32 on this {self.device.upper()}"
            get_root_logger().warning(f"train.precision: bf16 takes {place}; use --force_yml train:precision=fp32")

    def settle_for_run(self, net: nn.Module, opt: dict) -> None:
        """:meth:`settle` for a training with these options; a new run notes it in its log, one that goes on keeps what it has."""
        resume, block = opt.get("resume"), (opt.get("datasets") or {}).get("train") or {}
        side = _FACE_SIZE // opt["scale"]
        self.settle(net, (block.get("batch_size_per_gpu") or 1, 3, side, side), (resume or {}).get("precision"))
        if self.is_open and not resume:
            run_log.append(opt, {"iter": 0, **self.settled})

    def resume(self, state: dict, nets: Sequence[nn.Module]) -> None:
        """Goes on as a training state says.

        Args:
            state: of the run.
            nets: those that have been arranged; again, where the trainer has not told before what the run uses (scripts of others).
        """
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        before = state.get("precision")
        if self.is_open and before and before != self.settled:
            self.settle(nets[0], None, before)
            for net in nets:
                self.arrange(net)

    def arrange(self, net: nn.Module) -> nn.Module:
        """Puts the weights of a network into the memory layout asked for."""
        return net.to(memory_format=self.layout)

    def run(self, net: nn.Module, *inputs: torch.Tensor, **options):
        """What a network makes of tensors (B, C, H, W); a tensor, or a named tuple of tensors, in float32."""
        call: Callable = net
        if self.compile:
            if net not in self._compiled:
                self._compiled[net] = torch.compile(net)
            call = self._compiled[net]
        arranged = [tensor.contiguous(memory_format=self.layout) if tensor.ndim == 4 else tensor for tensor in inputs]
        with torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
            return _float(call(*arranged, **options))

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of a loss."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips the gradients of an optimizer's parameters and takes its step."""
        if self.clip is not None:
            self.scaler.unscale_(optimizer)
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.clip)
        self.scaler.step(optimizer)
        self.scaler.update()


def _float(output):
    if isinstance(output, torch.Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, tuple):
        items = [_float(item) for item in output]
        return type(output)(*items) if hasattr(output, "_fields") else tuple(items)
    if isinstance(output, list):
        return [_float(item) for item in output]
    return output
