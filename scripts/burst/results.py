"""What comes back of a training: files of its folder, by the names that they have at home."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

from wnet_arch.weights import seals
from wnet_arch.weights.checkpoint import read_state_dict

#: Keys of weights in a checkpoint, and the files that they travel in.
KINDS = {"params": "last.safetensors", "params_ema": "average.safetensors"}
LATEST = "latest"


def newest(folder: Path) -> Path | None:
    """The checkpoint of a training that has come farthest; ``None`` if there is none yet."""
    files = list((folder / "experiments" / folder.name / "models").glob("net_g_*.pth"))
    steps = {file: iteration(file) for file in files if iteration(file) is not None}
    return max(steps, key=steps.get) if steps else None


def iteration(file: Path) -> float | None:
    """That of a checkpoint's name; infinite for the last one, ``None`` for others (the best one may be old)."""
    label = file.stem.removeprefix("net_g_")
    return float("inf") if label == LATEST else int(label) if label.isdigit() else None


def records(folder: Path) -> dict[str, Path]:
    """Options, logs, plan."""
    run = folder / "experiments" / folder.name
    files = [folder / "plan.json", folder / "train.log", folder / f"{folder.name}.yml", run / "log.jsonl"]
    return {file.relative_to(folder).as_posix(): file for file in files if file.is_file()}


def light(folder: Path) -> dict[str, Path | bytes]:
    """Records, and the newest weights, last and averaged, matrices in half precision."""
    file = newest(folder)
    if file is None:
        return dict(records(folder))
    about = {"iteration": LATEST if iteration(file) == float("inf") else str(iteration(file))}
    found: dict[str, Path | bytes] = dict(records(folder))
    keys = _keys(file)
    for kind in (kind for kind in KINDS if kind in keys):
        state = {
            name: value.half() if value.is_floating_point() and value.ndim > 1 else value
            for name, value in read_state_dict(str(file), kind).items()
        }
        found[KINDS[kind]] = seals.pack_tensors(state, about)
    return found


def _keys(file: Path) -> set[str]:
    import torch

    return set(torch.load(file, map_location="cpu", weights_only=True, mmap=True))


def whole(folder: Path) -> dict[str, Path]:
    """All that the queue needs to go on elsewhere: the newest state and its weights, as they are."""
    run = folder / "experiments" / folder.name
    states = sorted((run / "training_states").glob("*.state"), key=lambda file: int(re.sub(r"\D", "", file.stem) or 0))
    steps = states[-1].stem if states else None
    models = [file for file in (run / "models").glob("net_*.pth") if file.stem.rpartition("_")[2] in (steps, LATEST)]
    files = [*records(folder).values(), run / f"{folder.name}.yml", *states[-1:], *models]
    return {file.relative_to(folder).as_posix(): file for file in files if file.is_file()}


def times(folder: Path) -> dict[str, float]:
    """Medians of what the trainer logged: seconds of an iteration, of waiting for images, of host and device; images a second."""
    log = folder / "experiments" / folder.name / "log.jsonl"
    lines = (
        [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")] if log.exists() else []
    )
    found = {}
    for key in ("time", "data_time", "host_time", "device_time", "images_per_second", "validation_seconds"):
        values = [line[key] for line in lines if key in line]
        if values:
            found[key] = statistics.median(values)
    return found
