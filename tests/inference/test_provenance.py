"""Option files beside weights, as people write them: a mistake is one line with file and key. And what networks are called."""

from __future__ import annotations

import os

import pytest
import yaml
from safetensors.torch import save_file

from tests.benchmark.test_benchmark import train_nothing
from wnet_arch import create_network
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.errors import UsageError
from wnet_arch.inference.entries import open_one
from wnet_arch.inference.provenance import training_set

HEAD = "name: x\nscale: 8\nnetwork_g: {type: SRCNN, scale: 8}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("datasets: [1]", "mine.yml: datasets is no block of options, but [1]"),
        ("datasets: {train: 7}", "mine.yml: datasets: train is no block of options, but 7"),
        ("train: 5", "mine.yml: train is no block of options, but 5"),
        ("datasets: {train: {dataroot: 5}}", "datasets.train.dataroot is a folder or a list of folders, not [5]"),
        ("datasets: {train: {dataroot: [a, 3]}}", "datasets.train.dataroot is a folder or a list of folders, not ['a', 3]"),
    ],
)
def test_blocks_of_wrong_types_are_named(tmp_path, capsys, text, said):
    save_file(create_network("SRCNN", 8).state_dict(), tmp_path / "x.safetensors")
    (tmp_path / "mine.yml").write_text(HEAD + text)
    entry = f"{tmp_path}/x.safetensors@{tmp_path}/mine.yml"
    assert run_command("wnet", wnet._main, ["export", entry, "-o", str(tmp_path / "x.onnx")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize(("text", "said"), [("name: x", "model_type is missing"), (HEAD + "datasets: [1]", "datasets")])
def test_a_sheet_of_weights_says_what_its_options_lack(tmp_path, capsys, text, said):
    save_file(create_network("SRCNN", 8).state_dict(), tmp_path / "x.safetensors")
    (tmp_path / "mine.yml").write_text(text)
    words = [
        "sheet",
        "-opt",
        str(tmp_path / "mine.yml"),
        "--weights",
        str(tmp_path / "x.safetensors"),
        "-o",
        str(tmp_path / "s.png"),
    ]
    assert run_command("wnet", wnet._main, words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Error" not in error
    assert "debug" not in error


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
