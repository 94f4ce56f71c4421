"""A run that was killed and continued is the run that was not: weights, average, optimizer and log, bit for bit."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.test_train_command import run_options
from tests.conftest import FUZZ, FUZZ_SEED, PATIENCE
from wnet_arch.data.sampler import Draw
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.training import training_state
from wnet_arch.weights import checkpoint


def long_options(face_set: Path, iterations: int = 60, workers: int = 0) -> dict:
    opt = run_options(face_set)
    opt["train"].update(total_iter=iterations, ema_decay=0.9)
    opt["datasets"]["train"].update(num_worker_per_gpu=workers, dataset_enlarge_ratio=4)  # 12 iterations an epoch
    opt["datasets"]["train"]["persistent_workers"] = bool(workers)
    opt["logger"].update(print_freq=1, save_checkpoint_freq=5, keep_last=3)
    opt["val"].update(val_freq=20, keep_best="psnr")
    return opt


def start(file: Path, cwd: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "wnet_arch.cli.basicsr", "train", "-opt", str(file), "--auto_resume"]
    with open(cwd / "out.txt", "a") as out:
        return subprocess.Popen(command, cwd=cwd, stdout=out, stderr=out, start_new_session=True)


def finish(file: Path, cwd: Path) -> Path:
    process = start(file, cwd)
    assert process.wait(timeout=PATIENCE) == 0, (cwd / "out.txt").read_text()[-2000:]
    return cwd / "experiments" / "tiny"


def reported(experiment: Path) -> list[dict]:
    """The JSON lines without what a clock says."""
    lines = [json.loads(line) for line in (experiment / "log.jsonl").read_text().splitlines()]
    clock = ("time", "data_time", "images_per_second", "validation_seconds")
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def iteration_of(experiment: Path) -> int:
    try:
        return max((line["iter"] for line in reported(experiment)), default=0)
    except (OSError, ValueError):
        return 0


def assert_same_run(one: Path, other: Path, iteration: int) -> None:
    def load(folder, name):
        return torch.load(folder / name, weights_only=True)

    for name in (f"models/net_g_{iteration}.pth", "models/net_g_latest.pth", "models/net_g_best.pth"):
        a, b = load(one, name), load(other, name)
        assert list(a) == ["params", "params_ema"]
        for key in a:
            assert all(torch.equal(a[key][n], b[key][n]) for n in a[key]), (name, key)
    a, b = (load(folder, f"training_states/{iteration}.state") for folder in (one, other))
    for number, values in a["optimizers"][0]["state"].items():
        assert all(torch.equal(values[n], b["optimizers"][0]["state"][number][n]) for n in values)
    assert torch.equal(a["random"][0]["torch"], b["random"][0]["torch"])
    assert a["best"] == b["best"]
    assert reported(one) == reported(other)


@pytest.mark.parametrize(("workers", "kills"), [(0, 2), (2, 5)])
def test_killed_at_random_moments_and_continued_equals_an_unbroken_run(tmp_path, face_set, workers, kills):
    iterations = 60
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    file = tmp_path / "tiny.yml"
    file.write_text(yaml.safe_dump(long_options(face_set, iterations, workers)))
    whole = finish(file, tmp_path / "whole")

    chance = random.Random(workers)
    experiment = tmp_path / "killed" / "experiments" / "tiny"
    moments = sorted(chance.sample(range(3, iterations - 3), kills))
    for moment in moments:
        process = start(file, tmp_path / "killed")
        while process.poll() is None and iteration_of(experiment) < moment:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.05))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finish(file, tmp_path / "killed")
    said = (tmp_path / "killed" / "out.txt").read_text()
    assert said.count("Resuming training from epoch") >= kills - 1  # all but one killed before its first checkpoint
    assert_same_run(whole, experiment, iterations)
    states = sorted(path.name for path in (whole / "training_states").iterdir())
    assert states == [f"{n}.state" for n in (50, 55, 60)]  # keep_last
    assert sorted(line["iter"] for line in reported(whole) if "psnr" in line) == [20, 40, 60]  # the last one once


def run_in(folder: Path, opt: dict) -> subprocess.CompletedProcess:
    file = folder / "tiny.yml"
    file.write_text(yaml.safe_dump(opt))
    command = [sys.executable, "-m", "wnet_arch.cli.basicsr", "train", "-opt", str(file), "--auto_resume"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def test_damaged_states_are_passed_over_and_changed_batches_refused(tmp_path, face_set):
    opt = long_options(face_set, 4)
    opt["logger"]["save_checkpoint_freq"] = 2
    assert run_in(tmp_path, opt).returncode == 0
    experiment = tmp_path / "experiments" / "tiny"
    whole = {name: (experiment / name).read_bytes() for name in ("training_states/4.state", "models/net_g_4.pth")}

    other = copy.deepcopy(opt)
    other["datasets"]["train"]["batch_size_per_gpu"] = 3
    run = run_in(tmp_path, other)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("basicsr: error: path.resume_state: that run had 2 images an iteration")

    opt["train"]["total_iter"] = 6
    for name, content in whole.items():
        (experiment / name).write_bytes(content[:-100])
        run = run_in(tmp_path, opt)
        assert run.returncode == 0, run.stderr
        assert "trying the state before it" in run.stdout
        assert "iter: 2." in run.stderr + run.stdout
        (experiment / name).write_bytes(content)
        for later in (experiment / "training_states" / "6.state", experiment / "models" / "net_g_6.pth"):
            checkpoint.remove(later)
    for state in (experiment / "training_states").glob("*.state"):
        state.write_bytes(b"")
    run = run_in(tmp_path, opt)
    assert run.returncode == 2
    assert "none of 2 states" in run.stderr.splitlines()[-1]
    assert [path.name for path in (tmp_path / "experiments").iterdir()] == ["tiny"]  # nothing was archived


def test_random_numbers_go_on_where_they_were_saved(tmp_path):
    import numpy as np

    def numbers():
        return random.random(), random.gauss(0, 1), float(np.random.randn()), float(torch.randn(()))  # noqa: NPY002

    numbers()
    torch.save(training_state.random_state(), tmp_path / "state")
    expected = numbers(), numbers()
    training_state.set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert (numbers(), numbers()) == expected


class Hostile:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_thousand_damaged_files_are_never_taken_for_good(tmp_path):
    """Truncations and flipped bits of a state and of its weights, whose checksum it knows: always one error."""
    net = torch.nn.Linear(4, 4)
    (tmp_path / "models").mkdir()
    checkpoint.write({"params": net.state_dict()}, tmp_path / "models" / "net_g_7.pth")
    state = {"iter": 7, "epoch": 0, "optimizers": [], "schedulers": []}
    training_state.write(state, str(tmp_path), str(tmp_path / "models"))
    targets = [tmp_path / "7.state", tmp_path / "models" / "net_g_7.pth"]
    assert training_state.read(targets[0], str(tmp_path / "models"))["iter"] == 7
    chance = random.Random(FUZZ_SEED)
    for trial in range(1000 * FUZZ):
        path = targets[trial % 2]
        content = path.read_bytes()
        damaged = bytearray(content)
        if trial % 4 < 2:
            damaged = damaged[: chance.randrange(len(damaged))]
        else:
            for _ in range(chance.randint(1, 8)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        if bytes(damaged) == content:
            continue
        path.write_bytes(damaged)
        with pytest.raises(WeightsError) as error:
            training_state.read(targets[0], str(tmp_path / "models"))
        assert "\n" not in str(error.value)
        path.write_bytes(content)


def test_code_in_a_state_is_not_run(tmp_path):
    hostile = tmp_path / "9.state"
    checkpoint.write({"iter": 9, "epoch": Hostile(tmp_path / "harm"), "optimizers": [], "schedulers": []}, hostile)
    with pytest.raises(WeightsError, match="not a readable training state"):
        training_state.read(hostile, str(tmp_path))
    assert not (tmp_path / "harm").exists()


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "net_g_latest.pth"
    checkpoint.write({"params": {"a": torch.zeros(1)}}, path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(Exception, match=r"cannot save .*net_g_latest.pth: no space left on .*: free some, then go on"):
        checkpoint.write({"params": {"a": torch.ones(1)}}, path)
    assert path.read_bytes() == before
    assert checkpoint.verify(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net_g_latest.pth"]


def test_changed_data_sets_cannot_be_continued():
    from wnet_arch.training.loaders import _continue

    before = {"seed": 0, "images": 8, "together": 4, "draws": 8}
    for key, said in (("images", "8 images in the training set"), ("draws", "8 images an epoch")):
        with pytest.raises(UsageError, match=said):
            _continue(None, {**before, key: 99}, {"epoch": 0, "iter": 1, "draws": before})
    assert int(Draw(3, 0, 0)) == 3
