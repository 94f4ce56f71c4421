"""Everything a training run needs to go on as if it had never stopped: written with each checkpoint, found and checked again.

An experiment's ``training_states/N.state`` holds the optimizers, the schedules, the gradient scaler, the random numbers of
every process, the best metrics, how images were drawn, and the checksums of the networks saved beside it. It is written last,
after the validation of its iteration: a state that is whole is complete.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.training import distributed
from wnet_arch.training.logs import get_root_logger
from wnet_arch.training.saving_times import SavingTimes
from wnet_arch.training.validation import Validated
from wnet_arch.weights import checkpoint, pth
from wnet_arch.weights.hashing import sha256_file
from wnet_arch.words import counted

#: States of the first format have their checksum in a file beside them, or lost it on the way.
FORMAT = "wnet-training-state-2"


class States:
    """The training states of a run, each written after the validation of its iteration, where there is one.

    Args:
        opt: of the run.
        validated: what has been validated.
        times: when a run saves by the clock; told of each state.
        model_state: gives what a state holds of the model, as it is then.
    """

    def __init__(self, opt: dict, validated: Validated, times: SavingTimes, model_state: Callable[[], dict]):
        self.opt, self.validated, self.times, self.model_state = opt, validated, times, model_state
        self._pending: tuple[int, int] | None = None

    def save(self, epoch: int, iteration: int) -> None:
        """Writes the state of an iteration; later, where a validation is still to come."""
        if self.validated.is_awaited(iteration):
            self._pending = epoch, iteration
        else:
            self._write(epoch, iteration)

    def after_validation(self, name: str, iteration: int) -> None:
        """A set has been validated: after the last one, writes the state that waits for it."""
        self.validated.last[name] = iteration
        if self._pending and self.validated.is_complete(iteration):
            pending, self._pending = self._pending, None
            self._write(*pending)

    def without_validation(self) -> None:
        """A validation has failed: writes the state that waits for it, so that what was trained is not lost with it.

        One process can do so alone only if there are no others.
        """
        if self._pending and self.opt["world_size"] == 1:
            pending, self._pending = self._pending, None
            self._write(*pending)

    def resume(self, state: dict) -> None:
        """Random numbers and validations of a run as its state has them."""
        if self.opt["rank"] < len(state["random"]):
            set_random_state(state["random"][self.opt["rank"]])
        self.validated.last = {name: state["validated"][name] for name in self.validated.names if name in state["validated"]}
        resumed, folder = self.opt["path"].get("resume_state"), self.opt["path"]["training_states"]
        if not self.opt["rank"] and resumed and Path(resumed).resolve().parent == Path(folder).resolve():
            for path in give_up_behind(state["iter"], folder):
                get_root_logger().info(f"Going on from iteration {state['iter']}, behind which {path.name} counts no more")

    def _write(self, epoch: int, iteration: int) -> None:
        self.times.note(iteration)
        random_states = distributed.share(random_state())
        if self.opt["rank"]:
            return
        folder, models = self.opt["path"]["training_states"], self.opt["path"]["models"]
        known = {"epoch": epoch, "iter": iteration, "draws": self.opt.get("draws"), "random": random_states}
        write({**known, **self.model_state(), "validated": dict(self.validated.last)}, folder, models)
        count = (self.opt.get("logger") or {}).get("keep_last")
        if count:
            keep_last(count, folder, models)


def plain(best: dict) -> dict:
    """Best metrics with Python's numbers: NumPy's cannot be loaded without unpickling code."""
    return {name: {metric: {**one, "val": float(one["val"])} for metric, one in metrics.items()} for name, metrics in best.items()}


def random_state() -> dict:
    """The generators of ``random``, NumPy, torch and the GPU, as values that can be loaded without unpickling code."""
    version, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    inner = {"key": numpy_state["state"]["key"].tolist(), "pos": int(numpy_state["state"]["pos"])}
    return {
        "python": [version, list(words), gauss],
        "numpy": {**numpy_state, "state": inner, "gauss": float(numpy_state["gauss"])},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict) -> None:
    """Sets the generators to what :func:`random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    inner = {**state["numpy"]["state"], "key": np.array(state["numpy"]["state"]["key"], np.uint32)}
    np.random.set_state({**state["numpy"], "state": inner})  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def write(state: dict, folder: str, models: str) -> None:
    """Writes ``N.state``, naming the networks that were saved for this iteration.

    Args:
        state: with ``iter`` and ``epoch``.
        folder: of the states.
        models: folder of the networks, ``net_*_N.pth``.
    """
    networks = {path.name: sha256_file(path) for path in _networks(models, state["iter"])}
    checkpoint.write({**state, "format": FORMAT, "networks": networks}, Path(folder, f"{state['iter']}.state"))


def give_up_behind(iteration: int, folder: str) -> list[Path]:
    """Renames the states behind an iteration from which a run goes on: they are of a way that it does not take, and would be the
    newest otherwise. Returns their new paths, ``N.state.given_up``.
    """
    found = []
    for path in _newest_first(folder):
        if int(path.stem) > iteration:
            found.append(path.with_name(path.name + ".given_up"))
            path.replace(found[-1])
            checkpoint.remove(path)  # its checksum
    return found


def keep_last(count: int, folder: str, models: str) -> None:
    """Removes all but the newest states, and the networks saved with those."""
    for path in _newest_first(folder)[count:]:
        checkpoint.remove(path)
        for network in _networks(models, int(path.stem)):
            checkpoint.remove(network)


def read(path: Path, models: str) -> dict:
    """Reads a state and checks it and its networks.

    Args:
        path: of the state.
        models: folder of the networks.

    Raises:
        WeightsError: something is missing, damaged, or no training state.
    """
    checked = checkpoint.verify(path)
    state = pth.load(path, "is not a readable training state")
    if not isinstance(state, dict) or not {"iter", "epoch", "optimizers", "schedulers"} <= set(state):
        raise WeightsError(f"{path} is not a training state")
    if state.get("format") == FORMAT and checked is None:
        raise WeightsError(f"{path} is damaged: it has lost its checksum")
    for name, digest in state.get("networks", {}).items():
        network = Path(models, name)
        if not network.is_file():
            raise WeightsError(f"{path} belongs to {network}, which is gone")
        if sha256_file(network) != digest:
            raise WeightsError(f"{path} belongs to another {network}, or that is damaged")
    return state


def newest(folder: str, models: str) -> tuple[Path, dict] | None:
    """The newest state that is whole; says which it passed over. ``None`` where there is none at all.

    Raises:
        UsageError: there are states, and none is whole.
    """
    states = _newest_first(folder)
    for path in states:
        try:
            return path, read(path, models)
        except WeightsError as error:
            print(f"--auto_resume: {error}; trying the state before it", flush=True)
    if states:
        raise UsageError(
            f"--auto_resume: none of {counted(len(states), 'state')} in {folder} is whole; remove that folder to start again"
        )
    return None


def _newest_first(folder: str) -> list[Path]:
    return sorted((p for p in Path(folder).glob("*.state") if p.stem.isdigit()), key=lambda p: -int(p.stem))


def _networks(models: str, iteration: int) -> list[Path]:
    return sorted(Path(models).glob(f"net_*_{iteration}.pth"))
