"""When a training's state is written: after the last validation of its iteration, or at once where none is to come."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wnet_arch.training import training_state
from wnet_arch.training.training_state import States
from wnet_arch.training.validation import Validated


class Times:
    """In the place of SavingTimes: remembers what it is told."""

    def __init__(self):
        self.noted = []

    def note(self, iteration: int) -> None:
        self.noted.append(iteration)


def options(folder: Path, **logger) -> dict:
    sets = {"train": {"name": "faces"}, "val": {"name": "near"}, "val_1": {"name": "far"}}
    paths = {"training_states": str(folder), "models": str(folder)}
    val = {"val_freq": 5, "keep_best": "psnr"}
    return {"rank": 0, "datasets": sets, "val": val, "path": paths, "logger": logger, "draws": {"seed": 3}}


def states_of(opt: dict) -> States:
    return States(opt, Validated(opt), Times(), lambda: {"optimizers": [], "schedulers": []})


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.state"))


def test_a_state_is_written_after_the_last_validation_of_its_iteration(tmp_path):
    states = states_of(options(tmp_path))
    states.save(0, 4)  # no validation
    assert written(tmp_path) == ["4.state"]
    states.save(1, 5)
    states.after_validation("near", 5)
    assert written(tmp_path) == ["4.state"]
    states.after_validation("far", 5)
    assert written(tmp_path) == ["4.state", "5.state"]
    state = training_state.read(tmp_path / "5.state", str(tmp_path))
    assert (state["epoch"], state["iter"], state["draws"]) == (1, 5, {"seed": 3})
    assert state["validated"] == {"near": 5, "far": 5}
    assert states.times.noted == [4, 5]
    (tmp_path / "5.state").unlink()
    states.save(1, 5)  # saved again at the end of the run: all is validated
    assert written(tmp_path) == ["4.state", "5.state"]


def test_a_state_is_written_when_its_validation_fails(tmp_path):
    states = states_of({**options(tmp_path), "world_size": 1})
    states.without_validation()
    assert written(tmp_path) == []  # none waits
    states.save(1, 5)
    states.after_validation("near", 5)
    states.without_validation()
    assert written(tmp_path) == ["5.state"]
    assert training_state.read(tmp_path / "5.state", str(tmp_path))["validated"] == {"near": 5}
    others = states_of({**options(tmp_path), "world_size": 2})  # may have failed alone, and a state needs all
    others.save(2, 10)
    others.without_validation()
    assert written(tmp_path) == ["5.state"]


def test_validations_of_another_iteration_or_set_do_not_count(tmp_path):
    states = states_of(options(tmp_path))
    states.after_validation("near", 5)
    states.after_validation("far", 5)
    states.save(1, 10)
    states.after_validation("near", 10)
    states.after_validation("somewhere else", 10)
    assert written(tmp_path) == []
    states.after_validation("far", 10)
    assert written(tmp_path) == ["10.state"]


def test_who_goes_back_leaves_the_states_behind(tmp_path):
    """They would be the newest, for --auto_resume, and what is saved now would be the oldest, and be removed."""
    opt = options(tmp_path, keep_last=2)
    for iteration in (1, 2, 3):
        states_of({**opt, "logger": {}}).save(0, iteration)
    opt["path"]["resume_state"] = str(tmp_path / "1.state")
    states = states_of(opt)
    states.resume({"iter": 1, "random": [], "validated": {}})
    assert written(tmp_path) == ["1.state"]
    assert sorted(path.name for path in tmp_path.glob("*.given_up")) == ["2.state.given_up", "3.state.given_up"]
    states.save(0, 2)
    assert training_state.newest(str(tmp_path), str(tmp_path))[0].name == "2.state"
    opt["path"] = {**opt["path"], "training_states": str(tmp_path / "other"), "resume_state": str(tmp_path / "1.state")}
    states_of(opt).resume({"iter": 1, "random": [], "validated": {}})  # of another run: that stays as it is
    assert written(tmp_path) == ["1.state", "2.state"]


def test_only_the_last_states_stay(tmp_path):
    states = states_of(options(tmp_path, keep_last=2))
    for iteration in (1, 2, 3):
        states.save(0, iteration)
    assert written(tmp_path) == ["2.state", "3.state"]


def test_a_run_goes_on_with_its_random_numbers_and_validations(tmp_path):
    states = states_of(options(tmp_path))
    states.after_validation("near", 5)
    states.after_validation("a set that these options do not have", 5)
    states.save(0, 6)
    drawn = torch.rand(3)
    again = states_of(options(tmp_path))
    again.resume(training_state.read(tmp_path / "6.state", str(tmp_path)))
    assert torch.equal(torch.rand(3), drawn)
    assert again.validated.last == {"near": 5}


@pytest.mark.parametrize(
    ("name", "best", "iteration", "is_best"),
    [
        ("near", {"near": {"psnr": {"iter": 5}}}, 5, True),
        ("near", {"near": {"psnr": {"iter": 5}}}, 10, False),
        ("far", {"far": {"psnr": {"iter": 5}}}, 5, False),  # the first set decides
        ("near", {"near": {"ssim": {"iter": 5}}}, 5, False),
        ("near", {}, 5, False),
    ],
)
def test_the_best_network_is_that_of_the_first_set(tmp_path, name, best, iteration, is_best):
    opt = options(tmp_path)
    assert Validated(opt).is_best(best, name, iteration) is is_best
    opt["val"]["keep_best"] = None
    assert not Validated(opt).is_best(best, name, iteration)
