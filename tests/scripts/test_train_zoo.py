"""The recipe of the model zoo: what it plans, that it goes on, what it refuses."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import PATIENCE, SCRIPTS, load_script

SCRIPT = SCRIPTS / "zoo" / "train_zoo.py"
SMALL = ["--network-option", "num_feat=32", "depths=[1,1,1,1]"]


def train_zoo(folder: Path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture
def sets(face_set) -> list:
    return ["--data", face_set, face_set, "--val", face_set, "--workers", 0, "--batch", 4]


def test_a_number_of_images_is_a_number_of_iterations_and_the_run_goes_on(tmp_path, sets):
    run = train_zoo(tmp_path, "wnetlite", 8, "--images", 40, *sets, *SMALL)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "wnet_lite_x8: 10 iterations of 4, 40 images" in run.stdout
    folder = tmp_path / "zoo" / "wnet_lite_x8"
    opt = yaml.safe_load((folder / "wnet_lite_x8.yml").read_text())
    assert opt["network_g"]["num_feat"] == 32
    assert len(opt["datasets"]["train"]["dataroot"]) == 2
    assert opt["train"]["scheduler"]["periods"] == [10]
    lines = [json.loads(line) for line in (folder / "experiments" / "wnet_lite_x8" / "log.jsonl").read_text().splitlines()]
    assert f"{lines[-1]['psnr']:.3f} dB at iteration 10" in run.stdout

    run = train_zoo(tmp_path, "WNetLite", 8, "--images", 80, *sets, *SMALL)
    assert run.returncode != 0
    assert "plan.json is of a run with images 40, not 80; give the same, or another --out" in run.stderr


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (["--images", 8], "--images 8: must be at least 20, which are 5 iterations of 4"),
        (["--images", 0], "--images 0: must be at least 20"),
        (["--minutes", 0], "--minutes 0: must be above 0"),
    ],
)
def test_too_little_is_said_before_there_is_a_folder(tmp_path, sets, amount, said):
    run = train_zoo(tmp_path, "SRCNN", 8, *amount, *sets)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith(said)
    assert not (tmp_path / "zoo").exists()


def test_variants_have_names_and_options_and_a_discriminator_keeps_its_rates(tmp_path, monkeypatch):
    script = load_script("zoo/train_zoo")
    arguments = [
        "train_zoo.py",
        "WNetLite_sharp",
        "8",
        "--images",
        "400",
        "--batch",
        "4",
        "--name",
        "sharper",
        "--val",
        str(tmp_path),
    ]
    arguments += ["--data", str(tmp_path), "--force_yml", "train:wnet_opt:key_weight=0.5", "train:gan_opt:loss_weight=0.1"]
    seen = {}

    def run(opt, folder, label):
        seen.update(opt=opt, folder=folder, label=label)
        (folder / "log.jsonl").write_text('{"iter": 100, "psnr": 20.0}')
        return folder / "log.jsonl"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(sys, "argv", arguments)
    assert script.main() == 0
    train = seen["opt"]["train"]
    file = yaml.safe_load((script.OPTIONS / "wnet_lite_sharp_x8.yml").read_text())["train"]
    assert (str(seen["folder"]), seen["label"]) == ("zoo/sharper", "sharper")
    assert (train["wnet_opt"]["key_weight"], train["gan_opt"]["loss_weight"]) == (0.5, 0.1)
    assert {key: train[key] for key in ("optim_g", "optim_d", "frozen")} == {
        key: file[key] for key in ("optim_g", "optim_d", "frozen")
    }
    assert train["scheduler"]["periods"] == [100]
    monkeypatch.setattr(sys, "argv", [*arguments, "--lr", "1e-3", "--out", "other"])
    assert script.main() == 0
    assert [seen["opt"]["train"][key]["lr"] for key in ("optim_g", "optim_d")] == [1e-3, 1e-3]


#: For every kind of key that the recipe sets, another value than its own.
FORCED = (
    "val:val_freq=7", "val:pbar=true", "val:keep_best=ssim", "logger:print_freq=3", "logger:save_checkpoint_freq=9",
    "logger:save_checkpoint_minutes=1", "logger:keep_last=5", "logger:use_tb_logger=true", "manual_seed=31",
    "train:ema_decay=0.5", "train:grad_clip=2.5", "train:warmup_iter=1", "train:precision=fp32", "train:optim_g:lr=0.125",
    "train:scheduler:eta_min=0.25", "datasets:train:num_worker_per_gpu=3", "datasets:train:use_hflip=false",
    "datasets:val:dataroot=elsewhere", "network_g:num_feat=48",
)  # fmt: skip


@pytest.mark.parametrize("network", ["wnet_lite", "SRGAN"])
def test_what_is_forced_is_applied_last_whatever_the_recipe_has(tmp_path, monkeypatch, face_set, network):
    script, seen = load_script("zoo/train_zoo"), {}

    def ran(opt, folder, label):
        seen.update(opt)
        (folder / "log.jsonl").write_text('{"iter": 10, "psnr": 20.0}')
        return folder / "log.jsonl"

    monkeypatch.setattr(script, "run", ran)
    arguments = [network, 8, "--images", 160, "--data", face_set, "--val", face_set, "--out", tmp_path, "--force_yml", *FORCED]
    monkeypatch.setattr(sys, "argv", ["train_zoo.py", *map(str, arguments)])
    assert script.main() == 0
    for entry in FORCED:
        key, _, text = entry.partition("=")
        assert script._value(seen, key) == yaml.safe_load(text), key


def test_weights_to_begin_with_are_named_from_where_the_user_stands(tmp_path, monkeypatch):
    """The training runs in a folder of its own."""
    script = load_script("zoo/train_zoo")
    (tmp_path / "start.pth").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    given = ["path:pretrain_network_g=start.pth", "path:pretrain_network_d=wnet_x8", "path:resume_state=~"]
    args = script.build_parser().parse_args(["EDSR", "8", "--images", "40", "--data", ".", "--force_yml", *given])
    found = script.recipe(args, script.options.load(str(script.option_file("EDSR", 8))), 10)["path"]
    assert found["pretrain_network_g"] == str(tmp_path / "start.pth")
    assert found["pretrain_network_d"] == "wnet_x8"  # a name that ships


def recipe_of(file: str, iterations: int, precision: str | None = None) -> dict:
    """The block ``train`` of an option file in the recipe."""
    script = load_script("zoo/train_zoo")
    args = argparse.Namespace(
        data=["faces"], val="faces", batch=4, workers=0, precision=precision, lr=None, network_option=[], force_yml=[],
        validations=1, seed=0, accumulation=1, optimizer=None,
    )  # fmt: skip
    return script.recipe(args, script.options.load(str(script.OPTIONS / file)), iterations)["train"]


@pytest.mark.parametrize(("asked", "precision"), [(None, "auto"), ("bf16", "bf16")])
def test_the_precision_is_the_faster_one_unless_named(asked, precision):
    train = recipe_of("wnet_lite_x8.yml", 10, asked)
    assert (train["precision"], train["channels_last"]) == (precision, "auto")
    assert train["optim_g"] == {"type": "Muon", "lr": 2e-3, "betas": [0.9, 0.99]}


@pytest.mark.parametrize(("iterations", "begin"), [(1250, (7, 13, 26)), (30, (1, 1, 2)), (800_000, (4001, 8001, 16001))])
def test_parts_that_start_late_start_after_the_same_share_of_the_training(iterations, begin):
    """Published: 2,000, 4,000 and 8,000 of 400,000 iterations pass before. In a short training no part would begin."""
    assert recipe_of("baselines/WIPA_x8.yml", iterations)["start_iters"] == dict(zip(("content", "net_d", "gan"), begin))


def test_time_decides_the_number_of_iterations(tmp_path, sets):
    run = train_zoo(tmp_path, "WNetLite", 8, "--minutes", 0.2, *sets, *SMALL, "--validations", 1)
    plan = json.loads((tmp_path / "zoo" / "wnet_lite_x8" / "plan.json").read_text())
    assert run.returncode == 0, run.stdout + run.stderr
    assert plan["validation"] > 0
    assert plan["iterations"] == int((0.2 * 60 * 0.9 - 2 * plan["validation"]) / plan["seconds"])
    assert plan["iterations"] >= 10


def test_the_pace_is_that_of_the_options_that_are_given(tmp_path, sets):
    few = ["SRCNN", 8, "--minutes", 0.0005, *sets, "--validations", 1]
    for batch in (4, 2):  # refused, and then of another batch
        run = train_zoo(tmp_path, *few, "--batch", batch)
        assert "iterations, at " in run.stderr, run.stdout + run.stderr
        lines = (tmp_path / "zoo" / "SRCNN_x8" / "experiments" / "pace" / "log.jsonl").read_text().splitlines()
        assert max(json.loads(line)["iter"] for line in lines) == 30


def test_a_training_has_one_gpu_so_that_its_batch_is_what_it_says(monkeypatch, tmp_path):
    script = load_script("zoo/train_zoo")
    args = script.build_parser().parse_args(["SRCNN", "8", "--images", "400"])
    for there, count in ((True, 1), (False, 0)):
        monkeypatch.setattr(script.torch.cuda, "is_available", lambda there=there: there)
        opt = script.options.load(str(script.option_file("SRCNN", 8)))
        assert script.recipe(args, opt, 100)["num_gpu"] == count


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["WNetlight", 8, "--images", 40], "there is no option file for WNetlight x8; networks: "),
        (["WNetLite", 8, "--images", 40, "--force_yml", "train:wnet:key_weight=1"], "the options have no 'train:wnet"),
        (["WNetLite", 8, "--images", 40, "--val", "nowhere"], "there is no folder nowhere; `wnet prepare"),
        (["WNetLite", 8, "--minutes", 1, "--images", 40], "not allowed with argument"),
        (["WNetLite", 8, "--images", 40, "--force_yml", "name=mine"], "--force_yml does not change name here; give --name"),
        (["WNetLite", 8, "--images", 40, "--force_yml", "train:total_iter=4"], "total_iter here; give --images or --minutes"),
        (["EDSR", 8, "--images", 40, "--force_yml", "datasets:train:batch_size_per_gpu=9"], "_per_gpu here; give --batch"),
        (["EDSR", 8, "--images", 40, "--force_yml", "train:accumulation=2"], "train:accumulation here; give --accumulation"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(tmp_path, sets, monkeypatch, capsys, arguments, said):
    script = load_script("zoo/train_zoo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_zoo.py", *map(str, [*sets, *arguments])])
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert said in f"{stop.value.code} {capsys.readouterr().err}"
    assert not (tmp_path / "zoo").exists()
