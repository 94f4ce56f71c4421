"""What a network costs: parameters, multiply-accumulates, memory, and forward time beside SPARNet's in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from wnet_arch.archs import create_network
from wnet_arch.archs.base import NETWORKS

#: Side of the face every network of the paper's tables makes.
FACE_SIZE = 128
REFERENCE = "SPARNet"


@dataclass
class Cost:
    """``total`` parameters, of which ``used`` get a gradient from the network's outputs; ``macs``: multiply-accumulates of one
    face's forward pass; ``seconds``: median of its time, where it was measured; ``kept``: bytes kept of one face for the
    backward pass, without and with gradient checkpointing, where they were counted.
    """

    name: str
    scale: int
    total: int
    used: int
    macs: float
    seconds: float | None = None
    kept: tuple[int, int] | None = None


def cost(name: str, scale: int, **options) -> Cost:
    """Counts without computing anything: the network lives on the ``meta`` device, which knows shapes only.

    Multiply-accumulates are those of convolutions, linear layers and matrix products for one 128x128 face.
    """
    with torch.device("meta"):
        net = create_network(name, scale, **options).eval()
        lq = torch.zeros(1, 3, FACE_SIZE // scale, FACE_SIZE // scale)
        with FlopCounterMode(display=False) as counter:
            outputs = net(lq, return_aux=True)
        macs = counter.get_total_flops() / 2
        trained = [out for out in _tensors(outputs) if out.requires_grad]  # none for Bicubic
        if trained:
            sum(out.square().mean() for out in trained).backward()
    used = sum(p.numel() for p in net.parameters() if p.grad is not None)
    return Cost(name, scale, sum(p.numel() for p in net.parameters()), used, macs)


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def clock(device: str) -> tuple[Callable[[], float], str]:
    """What time is measured with, and its name: the processor time of the one thread that computes, else the wall clock."""
    if device == "cpu" and torch.get_num_threads() == 1:
        return time.thread_time, "processor time"
    return time.perf_counter, "wall clock"


def measure_time(costs: list[Cost], options: dict, runs: int = 5, device: str = "cpu") -> None:
    """Fills in ``seconds``: median of ``runs`` forward passes of one face, float32, networks taking turns in each round.

    The clock is that of :func:`clock`, so that on one thread other programs hardly disturb the result.
    """
    now, _ = clock(device)
    nets = [create_network(c.name, c.scale, **options.get(c.name, {})).eval().to(device) for c in costs]
    inputs = [torch.rand(1, 3, FACE_SIZE // c.scale, FACE_SIZE // c.scale, device=device) for c in costs]
    times: list[list[float]] = [[] for _ in costs]
    with torch.no_grad():
        for round_ in range(runs + 1):
            for net, lq, taken in zip(nets, inputs, times):
                start = now()
                net(lq)
                if device != "cpu":
                    torch.cuda.synchronize(device)
                if round_:  # the first round warms up
                    taken.append(now() - start)
    for c, taken in zip(costs, times):
        c.seconds = statistics.median(taken)


def count_memory(costs: list[Cost], options: dict) -> None:
    """Fills in ``kept`` for float32, without computing anything. Parameters, their gradients and the optimizer come on top."""
    from wnet_arch.training.grad_checkpointing import checkpoint_blocks

    for c in costs:
        with torch.device("meta"):
            plain, thrifty = (create_network(c.name, c.scale, **options.get(c.name, {})).train() for _ in range(2))
            checkpoint_blocks(thrifty)
            lq = torch.zeros(2, 3, FACE_SIZE // c.scale, FACE_SIZE // c.scale)  # two: SISN cannot train on one alone
            c.kept = kept_for_backward(plain, lq) // 2, kept_for_backward(thrifty, lq) // 2


def kept_for_backward(net: torch.nn.Module, lq: torch.Tensor) -> int:
    """Bytes of everything but parameters and buffers that a forward pass leaves for the backward pass."""
    own = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(lq, return_aux=True)
    return sum(storage.nbytes() for storage in kept.values())


def trainable_networks(scale: int) -> list[str]:
    """Registered networks that exist for this scale, those without parameters left out."""
    return sorted(name for name, cls in NETWORKS.items() if scale in cls.scales and name != "Bicubic")


def table(costs: list[Cost]) -> str:
    """Aligned text; times relative to SPARNet where both were measured; memory where it was counted."""
    reference = next((c.seconds for c in costs if c.name == REFERENCE), None)
    header = f"{'network':12}{'scale':>6}{'used':>12}{'total params':>14}{'GMACs':>9}{'time':>10}{'/ ' + REFERENCE:>11}"
    with_memory = any(c.kept for c in costs)
    lines = [header + f"{'kept, MiB':>12}{'checkpointed':>14}" * with_memory]
    for c in costs:
        seconds = f"{c.seconds:.3f} s" if c.seconds else "-"
        ratio = f"{c.seconds / reference:.2f}" if c.seconds and reference else "-"
        counts = f"{c.used:>12,}{c.total:>14,}{c.macs / 1e9:>9.2f}"
        memory = f"{c.kept[0] / 2**20:>12.1f}{c.kept[1] / 2**20:>14.1f}" if c.kept else ""
        lines.append(f"{c.name:12}{'x' + str(c.scale):>6}{counts}{seconds:>10}{ratio:>11}{memory}")
    return "\n".join(lines)
