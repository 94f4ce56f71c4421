"""What `train_queue.py --ship` does with a finished training: weights, card and log into the repository; and what it has done."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from places import manifest_of

from wnet_arch import disk
from wnet_arch.errors import WeightsError
from wnet_arch.weights import metadata, shipped

#: Lines of a training's log that travel with its weights, beside those of validations.
LINES = 200


def ship(
    run: Path, name: str, faces: str, queue: str, hardware: str | None = None, earlier: Path | None = None, replace: bool = False
) -> str:
    """Ships a run under a name: NAME.safetensors, NAME.md and NAME.jsonl, in the package that the name belongs to.

    What has been shipped is noted beside the run, and not shipped again until it has trained on. Weights of another training that
    ship under the name are not replaced, except by ``replace`` and if they are of the same queue.

    Args:
        run: ``zoo/NAME/experiments/NAME``, ended.
        name: as ship_weights.py takes it.
        faces: the set that decides about the weights, and that the card is measured on.
        queue: name of the list of trainings.
        hardware: what it was trained on, for the card.
        earlier: the run whose weights it began with.
        replace: weights that an earlier training of the queue, of fewer images for example, has left under the name.

    Returns:
        What to say of it.

    Raises:
        RuntimeError: a script has refused; its last words.
    """
    log, mark = run / "log.jsonl", run.parents[1] / "shipped.json"
    lines = log.read_text(encoding="utf-8").splitlines()
    now = {"name": name, "lines": len(lines)}
    before = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else {}
    if before == now:
        return f"is shipped already, as {name}"
    without_card = {**now, "card": False}
    if before != without_card:
        more = [*(["--hardware", hardware] if hardware else []), *(["--after", str(earlier)] if earlier else [])]
        more += ["--replace"] if before.get("name") == name or (replace and queue_of(name) == queue) else []
        _call("ship_weights.py", str(run), name, "--set", faces, "--queue", queue, *more)
        disk.write_text(mark, json.dumps(without_card) + "\n")  # a card takes minutes, in which much can happen
    disk.write_text(manifest_of(name).with_name(f"{name}.jsonl"), "".join(f"{line}\n" for line in thinned(lines)))
    _call("model_zoo.py", "--sets", faces, "--card", name)
    disk.write_text(mark, json.dumps(now) + "\n")
    return f"shipped as {name}; look at its card, and measure all by model_zoo.py before a release"


def shipped_log(name: str, queue: str, args: argparse.Namespace) -> list[dict]:
    """The log that came with weights; nothing where none ship so, or of another queue or length than asked."""
    if queue_of(name) != queue:
        return []
    log = shipped.path(name).with_suffix(".jsonl")
    if not log.is_file():
        return []
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return lines if args.images and max(line["iter"] for line in lines) == args.images // args.batch else []


def queue_of(name: str) -> str | None:
    """The queue whose weights ship under a name, if any do."""
    try:
        return metadata.texts(shipped.path(name)).get(metadata.QUEUE)
    except WeightsError:
        return None


def thinned(lines: list[str]) -> list[str]:
    """Lines of a log at equal distances, all of validations, and the last."""
    step = -(-len(lines) // LINES)
    kept = (
        line for index, line in enumerate(lines) if index % step == 0 or index == len(lines) - 1 or '"validation_seconds"' in line
    )
    return list(kept)


def _call(script: str, *arguments: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"{script}: {words[-1] if words else f'ended with {done.returncode}'}")
