"""What a run's option file tells of its weights, and what a network is called that has no label."""

from __future__ import annotations

import os

import pytest
import yaml

from tests.benchmark.test_benchmark import train_nothing
from wnet_arch.errors import UsageError
from wnet_arch.inference.entries import open_one
from wnet_arch.inference.provenance import training_set


def test_what_is_no_number_is_said_with_its_file(tmp_path):
    run = train_nothing(tmp_path, "SRCNN_x8")
    file = run / "SRCNN_x8.yml"
    opt = yaml.safe_load(file.read_text())
    for key, value, said in (("total_iter", "many", "train.total_iter"), ("manual_seed", [3], "manual_seed")):
        wrong = {**opt, "train": {"total_iter": value}} if key == "total_iter" else {**opt, key: value}
        file.write_text(yaml.safe_dump(wrong))
        with pytest.raises(UsageError, match=rf"SRCNN_x8\.yml: {said} is a whole number, not "):
            open_one(str(run), None)
    file.write_text(yaml.safe_dump({**opt, "train": {"total_iter": "1e5"}}))
    assert open_one(str(run), None).provenance.iterations == 100_000


def test_a_split_keeps_the_name_of_its_set():
    names = [training_set({"dataroot": [f"sets/celeba/{split}", f"sets/{split}_x"]}) for split in ("train", "val", "test")]
    assert names == [f"celeba_{split} + {split}_x" for split in ("train", "val", "test")]


def test_a_network_is_called_after_its_run_wherever_one_stands(tmp_path, monkeypatch):
    run = train_nothing(tmp_path, "SRCNN_x8")
    monkeypatch.chdir(run)
    assert open_one(os.path.join("models", "net_g_latest.pth"), None).name == "SRCNN_x8"
    monkeypatch.chdir(run / "models")
    assert open_one("net_g_latest.pth", None).name == "SRCNN_x8"
