"""Option files by name: listed, shown, copied, found from any folder; a path wins."""

import shutil
import subprocess
import sys

import pytest
import yaml

from tests.conftest import PATIENCE
from wnet_arch import options
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.errors import UsageError
from wnet_arch.options import packaged


def run(*words: str) -> int:
    return run_command("wnet", wnet._main, list(words))


@pytest.mark.parametrize("name", ["wnet_x8", "wnet_x8.yml", "options/wnet_x8.yml", "WNet_x8"])
def test_a_name_is_enough_in_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert options.resolve(name) == str(packaged.FOLDER / "wnet_x8.yml")


@pytest.mark.parametrize("name", ["SPARNet_x4", "sparnet_x4", "baselines/SPARNet_x4", "options/baselines/SPARNet_x4.yml"])
def test_files_in_folders_are_found_with_and_without_them(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert options.resolve(name) == str(packaged.FOLDER / "baselines" / "SPARNet_x4.yml")


def test_a_path_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wnet_x8").write_text("name: mine\n")
    assert options.resolve("wnet_x8") == "wnet_x8"


@pytest.mark.parametrize(("name", "near"), [("wnet_x9", "wnet_x8"), ("SPARNt_x8", "SPARNet_x8"), ("my/wnet_x88.yml", "wnet_x8")])
def test_a_name_that_does_not_exist_brings_the_nearest(capsys, name, near):
    with pytest.raises(UsageError, match=f"there is no option file {name}, .*did you mean .*'{near}'"):
        options.resolve(name)
    assert run("options", "show", name) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_names_are_unambiguous():
    last = [name.rpartition("/")[2].lower() for name in packaged.files()]
    assert len(set(last)) == len(last) >= 50


def test_list_tells_what_each_is(capsys):
    assert run("options", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(packaged.files())
    assert any(line.split(maxsplit=1) == ["wnet_x8", "W-Net x8 as in the paper"] for line in lines)
    assert all(len(line.split(maxsplit=1)[1]) > 10 for line in lines)


def test_a_copy_is_the_same_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("options", "copy", "ablation/H_x4") == 0
    copy, original = tmp_path / "H_x4.yml", packaged.FOLDER / "ablation" / "H_x4.yml"
    assert yaml.safe_load(copy.read_text()) == yaml.safe_load(original.read_text())
    assert run("options", "show", "H_x4") == 0
    assert capsys.readouterr().out == "H_x4.yml\n" + (tmp_path / "H_x4.yml").read_text()
    schema = (tmp_path / "H_x4.yml").read_text().splitlines()[0].partition("$schema=")[2]
    assert schema == str(packaged.FOLDER / "schema.json")
    kept = (tmp_path / "H_x4.yml").read_bytes()
    assert run("options", "copy", "ablation/H_x4") == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "H_x4.yml").read_bytes() == kept
    assert run("options", "copy", "H_x4", "-o", "nowhere/x.yml") == 1
    assert "cannot write nowhere" in capsys.readouterr().err


def test_files_do_not_repeat_what_holds_anyway():
    """Keys that a file gives with the value that holds without them; betas and the like are the network's own even so."""
    for name, file in packaged.files().items():
        opt = options.load(str(file))
        for key in ("num_gpu", "dist_params"):
            assert key not in opt, name
        assert opt.get("path") != {}, name
        assert "wandb" not in opt.get("logger", {}), name
        train = opt["datasets"].get("train", {})
        assert train.get("dataset_enlarge_ratio", 0) != 1, name
        assert "prefetch_mode" not in train, name
        assert "persistent_workers" not in train, name


def test_the_clone_shows_the_files_of_the_package():
    root = packaged.FOLDER.parents[2]
    if not (root / "setup.py").exists():
        pytest.skip("this is an installed package, not a clone")
    assert (root / "options").resolve() == packaged.FOLDER
    assert shutil.which("basicsr") is None or (root / "options" / "wnet_x8.yml").is_file()


@pytest.mark.parametrize(
    "command",
    ["wnet options list", "wnet options show wnet_x8", "wnet validate --describe", "wnet weights list",
     "wnet prepare celeba --help", "basicsr train --help"],
)  # fmt: skip
def test_a_reader_that_has_seen_enough_is_no_error(command):
    program, _, rest = command.partition(" ")
    shell = f"set -o pipefail; {sys.executable} -m wnet_arch.cli.{program} {rest} | head -1"
    run = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode in (0, 141)
    assert run.stderr == ""
    assert run.stdout.count("\n") == 1
