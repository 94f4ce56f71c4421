"""How a network is run in training: number format, memory layout, compilation, clipping of gradients."""

from __future__ import annotations

import functools
import time

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.training.logs import get_root_logger

_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Time in bf16, relative to float32, above which a training says so.
_SLOW = 1.5


@functools.cache
def bf16_time(device: str = "cpu") -> float:
    """Measures the time that a convolution of W-Net's width takes in bfloat16, relative to float32.

    About a half on CPUs with AVX-512 BF16; 10 and more were seen on one with AVX2 alone, where every product is emulated.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        maps = torch.zeros(1, 64, 64, 64, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        best[dtype] = min(_time(maps, maps.new_zeros(64, 64, 3, 3)) for _ in range(4))
    return best[torch.bfloat16] / best[torch.float32]


@torch.inference_mode()
def _time(maps: torch.Tensor, kernels: torch.Tensor) -> float:
    begin = time.perf_counter()
    F.conv2d(maps, kernels, padding=1)
    if maps.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


class Precision:
    """Options of ``train``, alike for every network:

    * ``precision``: ``fp32`` (default), ``bf16`` or ``fp16``: the format of convolutions and matrix products, by autocast.
      Losses, weights, statistics of normalisation and the optimizer stay in float32, and softmax as autocast decides. With
      ``fp16`` losses are scaled, and steps whose gradients overflow are left out, as is usual.
    * ``channels_last``: channels beside each other in memory, which is faster with bf16, and on newer GPUs.
    * ``compile``: run the network through ``torch.compile``.
    * ``grad_clip``: largest norm of all gradients of an optimizer together.

    Validation always runs in float32.

    Raises:
        UsageError: an option has another type or value.
    """

    def __init__(self, train_opt: dict, device: str):
        name = train_opt.get("precision") or "fp32"
        if name not in _TYPES:
            raise UsageError(f"train.precision: '{name}' is none{did_you_mean(str(name), _TYPES)}")
        for key in ("channels_last", "compile"):
            if not isinstance(train_opt.get(key) or False, bool):
                raise UsageError(f"train.{key} must be true or false, not {train_opt[key]!r}")
        if name == "bf16" and bf16_time(device) > _SLOW:
            place = f"{bf16_time(device):.1f} times as long as fp32 on this {device.upper()}"
            get_root_logger().warning(f"train.precision: bf16 takes {place}; use --force_yml train:precision=fp32")
        clip = train_opt.get("grad_clip")
        if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float)) or clip <= 0):
            raise UsageError(f"train.grad_clip must be a number above 0, not {clip!r}")
        self.device, self.dtype, self.clip = device, _TYPES[name], clip
        self.layout = torch.channels_last if train_opt.get("channels_last") else torch.contiguous_format
        self.compile = bool(train_opt.get("compile"))
        self.scaler = torch.amp.GradScaler(device, enabled=name == "fp16")
        self._compiled: dict[nn.Module, nn.Module] = {}

    def arrange(self, net: nn.Module) -> nn.Module:
        """Puts the weights of a network into the memory layout asked for."""
        return net.to(memory_format=self.layout)

    def run(self, net: nn.Module, *inputs: torch.Tensor, **options):
        """What a network makes of tensors (B, C, H, W); a tensor, or a named tuple of tensors, in float32."""
        if self.compile:
            if net not in self._compiled:
                self._compiled[net] = torch.compile(net)
            net = self._compiled[net]
        inputs = [tensor.contiguous(memory_format=self.layout) if tensor.ndim == 4 else tensor for tensor in inputs]
        with torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
            return _float(net(*inputs, **options))

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
