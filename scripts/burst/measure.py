"""What a training costs on this machine: some real steps of its own model, on images of its own set."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import wnet_arch  # noqa: F401 - first: it makes BasicSR importable

#: Steps that warm up, and those that count at most.
WARM_UP, STEPS = 2, 30


def ready(opt: dict, folder: Path) -> dict:
    """Options as BasicSR's pipeline would give them to a model, on the GPU if there is one; files would go to ``folder``."""
    opt = {**opt, "name": "measured", "is_train": True, "dist": False, "rank": 0, "world_size": 1, "auto_resume": False}
    opt["num_gpu"] = 1 if torch.cuda.is_available() else 0
    block = opt["datasets"]["train"]
    block.update(phase="train", scale=opt["scale"])
    together = block["batch_size_per_gpu"] * opt["train"]["accumulation"]
    opt["draws"] = {"seed": 0, "images": together, "together": together, "draws": together}
    opt["path"] = {**opt.get("path", {}), "models": str(folder), "training_states": str(folder), "visualization": str(folder)}
    return opt


def samples(opt: dict) -> dict:
    """One batch, accumulated parts together, from the training set."""
    from basicsr.data import build_dataset
    from torch.utils.data import default_collate

    dataset = build_dataset(opt["datasets"]["train"])
    return default_collate([dataset[index % len(dataset)] for index in range(opt["draws"]["together"])])


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(opt: dict, folder: Path, seconds: float) -> dict:
    """Builds the model and takes steps for ``seconds``.

    Args:
        opt: of a training, as train_zoo.py makes them.
        folder: for what the model wants to write.
        seconds: of steps, beside the first ones.

    Returns:
        ``images_per_second``, ``step`` (s), ``batch``, ``accumulation``, ``first_step`` (s), ``losses``; on a GPU ``host_time``,
        ``device_time`` (s) and ``memory`` (bytes at most); and of the convolutions ``flops_per_second`` and ``ceiling``, what bare
        ones of the same shapes reach.
    """
    from basicsr.models import build_model

    opt = ready(opt, folder)
    data = samples(opt)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        torch.backends.cudnn.benchmark = True
    model = build_model(opt)
    begin = time.perf_counter()
    step(model, data, 1)
    found = {
        "first_step": time.perf_counter() - begin,
        "batch": opt["draws"]["together"],
        "accumulation": opt["train"]["accumulation"],
    }
    for iteration in range(2, WARM_UP + 1):
        step(model, data, iteration)
    model.step_clock.read()
    begin, count = time.perf_counter(), 0
    while count < STEPS and (count < 2 or time.perf_counter() - begin < seconds):
        step(model, data, WARM_UP + count + 1, wait_for_it=count % 5 == 4)
        count += 1
    wait()
    found["step"] = (time.perf_counter() - begin) / count
    found["images_per_second"] = found["batch"] / found["step"]
    found.update(model.step_clock.read())
    if torch.cuda.is_available():
        found["memory"] = torch.cuda.max_memory_allocated()
    found["losses"] = {name: value for name, value in model.get_current_log().items() if name.startswith("l_")}
    return {**found, **convolutions(model, data["lq"].shape, found, seconds)}


def step(model, data: dict, iteration: int, wait_for_it: bool = True) -> None:
    model.update_learning_rate(iteration, warmup_iter=-1)
    model.feed_data(data)
    model.optimize_parameters(iteration)
    if wait_for_it:
        wait()


def convolutions(model, shape: tuple[int, ...], found: dict, seconds: float) -> dict:
    """FLOP/s of the network's convolutions in a step, forward and backward, and of bare ones."""
    from wnet_arch.training import own_layers

    net = model.get_bare_model(model.net_g)
    part = (shape[0] // found["accumulation"], *shape[1:])
    macs = sum(conv.macs * times for conv, times in own_layers.convolutions(net, part).items())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype, layout = model.precision.dtype or torch.float32, model.precision.layout
    # Backward passes compute as much twice: for the maps and for the kernels.
    return {
        "flops_per_second": 3 * 2 * macs * found["accumulation"] / found["step"],
        "ceiling": own_layers.ceiling(net, part, device, dtype, layout, seconds),
        "precision": str(dtype).removeprefix("torch."),
    }


def machine() -> dict:
    """What the numbers are of."""
    import os
    import platform

    known = {"torch": torch.__version__, "python": platform.python_version(), "processors": os.cpu_count()}
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        return {**known, "card": card.name, "memory": card.total_memory}
    return {**known, "card": f"no GPU, {platform.machine()}"}


def with_less_memory(args: argparse.Namespace) -> bool:
    """Halves what is computed at once; the step stays the same. ``False`` if it cannot be halved."""
    if args.batch // args.accumulation % 2:
        return False
    args.accumulation *= 2
    return True
