"""Option files beside weights, as people write them: what is wrong is one line that names file and key."""

from __future__ import annotations

import pytest
from safetensors.torch import save_file

from wnet_arch import create_network
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command

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
