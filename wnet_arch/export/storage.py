"""Precision of the weights in a file. Whoever runs it computes in float32, so that it runs everywhere: ONNX Runtime has neither
convolutions in bfloat16 nor fast ones in float16 on a CPU.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def stored(tensor: torch.Tensor, precision: str) -> torch.Tensor:
    """A weight as a file keeps it. Kernels and matrices take the precision; biases, factors and statistics of normalisations, which
    are few, and what would overflow, stay as they are.
    """
    if precision == "fp32" or tensor.dtype != torch.float32 or tensor.ndim < 2:
        return tensor
    short = tensor.to(PRECISIONS[precision])
    return short if short.isfinite().all() else tensor


def rounded(net: nn.Module, precision: str) -> nn.Module:
    """A copy of a network whose weights have the values that a file of that precision keeps."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.copy_(stored(tensor, precision))
    return net
