"""Checkpoints by the clock: when they are due, and that a run continued from one is the run that was not interrupted."""

from __future__ import annotations

import types

import pytest
import torch
import yaml

from tests.training.test_resume import finish, long_options, run_in
from wnet_arch.errors import UsageError
from wnet_arch.training import saving_times
from wnet_arch.training.saving_times import SavingTimes

DRAWS = {"seed": 0, "images": 24, "together": 2, "draws": 24}


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(saving_times.time, "monotonic", lambda: clock.now)
    return clock


def options(minutes, dist: bool = False) -> dict:
    return {"logger": {"save_checkpoint_minutes": minutes}, "draws": DRAWS, "dist": dist}


def test_a_checkpoint_is_due_when_the_minutes_have_gone_since_the_last_one(clock):
    times = SavingTimes(options(2))
    clock.now += 119
    assert not times.due(5)
    clock.now += 1
    assert times.due(5)
    times.note(4)
    assert not times.due(5)
    clock.now += 500
    assert not times.due(5)  # nothing has been done since
    assert times.due(6)
    assert not SavingTimes(options(2)).due(1)


def test_without_minutes_there_is_none(clock):
    times = SavingTimes(options(None))
    clock.now += 1e9
    assert not times.due(7)
    assert SavingTimes({"dist": False}).seconds is None


def test_several_processes_follow_the_clock_of_the_first(clock, monkeypatch):
    monkeypatch.setattr(saving_times.distributed, "share", lambda value: [True, value])
    times = SavingTimes(options(2, dist=True))  # its own clock has not moved
    assert [iteration for iteration in range(1, 50) if times.due(iteration)] == [20, 40]


@pytest.mark.parametrize(("iteration", "epoch"), [(1, 0), (12, 0), (13, 1), (24, 1), (25, 2)])
def test_epochs_are_those_of_the_trainer(iteration, epoch):
    assert SavingTimes(options(1)).epoch(iteration) == epoch


def test_another_trainer_is_refused():
    with pytest.raises(UsageError, match=r"logger\.save_checkpoint_minutes needs the command basicsr"):
        SavingTimes({**options(1), "draws": None})


def test_a_run_continued_from_one_is_the_unbroken_one(tmp_path, face_set):
    """Saved at every iteration; continued from the one behind the last of an epoch and behind a validation."""
    opt = long_options(face_set, 14)  # 12 iterations an epoch
    opt["logger"].update(save_checkpoint_freq=14, keep_last=None)
    opt["val"]["val_freq"] = 6
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "tiny.yml").write_text(yaml.safe_dump(opt))
    whole = finish(tmp_path / "whole" / "tiny.yml", tmp_path / "whole")
    assert [path.name for path in (whole / "training_states").iterdir()] == ["14.state"]

    opt["logger"]["save_checkpoint_minutes"] = 1e-6
    (tmp_path / "saved").mkdir()
    experiment = tmp_path / "saved" / "experiments" / "tiny"
    for last in (13, 14):  # the run ends early, and is continued from what the clock has saved last
        opt["train"]["total_iter"] = last
        run = run_in(tmp_path / "saved", opt)
        assert run.returncode == 0, run.stderr
    assert "iter: 12." in run.stderr + run.stdout
    state = torch.load(experiment / "training_states" / "12.state", weights_only=True)
    assert (state["epoch"], state["validated"]) == (0, {"val": 12})
    weights = [torch.load(folder / "models" / "net_g_14.pth", weights_only=True) for folder in (whole, experiment)]
    for key in ("params", "params_ema"):
        assert all(torch.equal(weights[0][key][name], weights[1][key][name]) for name in weights[0][key])
    assert_same_random_numbers(whole, experiment)


def assert_same_random_numbers(one, other) -> None:
    states = [torch.load(folder / "training_states" / "14.state", weights_only=True) for folder in (one, other)]
    assert torch.equal(*(state["random"][0]["torch"] for state in states))
    for number, values in states[0]["optimizers"][0]["state"].items():
        assert all(torch.equal(values[name], states[1]["optimizers"][0]["state"][number][name]) for name in values)
