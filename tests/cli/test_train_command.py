"""The command ``basicsr`` from outside, as a user runs it: another folder, CPU, resume, and errors on one line."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import PATIENCE, write_set
from wnet_arch import create_network, options
from wnet_arch.cli.common import run_command
from wnet_arch.errors import UsageError, WNetError

METRICS = {"psnr": {"type": "calculate_psnr", "crop_border": 8, "test_y_channel": True, "better": "higher"}}


def run_options(face_set: Path) -> dict:
    data = {"type": "PairedFaceParsingDataset", "dataroot": str(face_set)}
    return {
        "name": "tiny", "model_type": "WNetModel", "scale": 8, "num_gpu": "auto", "manual_seed": 0,
        "datasets": {
            "train": {"name": "train", **data, "use_hflip": True, "num_worker_per_gpu": 0, "batch_size_per_gpu": 2},
            "val": {"name": "val", **data},
        },
        "network_g": {"type": "WNet", "scale": 8, "num_feat": 8, "peak": 1},
        "path": {"pretrain_network_g": None, "resume_state": None},
        "train": {
            "optim_g": {"type": "Adam", "lr": 1e-3}, "total_iter": 2, "warmup_iter": -1,
            "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5},
            "wnet_opt": {"type": "WNetLoss", "vgg": None},
        },
        "val": {"val_freq": 2, "save_img": False, "metrics": copy.deepcopy(METRICS)},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False},
    }  # fmt: skip


def write_options(path: Path, opt: dict) -> Path:
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return path


def basicsr(*arguments, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "wnet_arch.cli.basicsr", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)


def test_training_from_another_folder_validates_saves_and_resumes(tmp_path, face_set):
    file = write_options(tmp_path / "tiny.yml", run_options(face_set))
    here = tmp_path / "elsewhere"
    here.mkdir()
    run = basicsr("train", "-opt", file, cwd=here)
    assert run.returncode == 0, run.stderr
    experiment = here / "experiments" / "tiny"
    assert (experiment / "models" / "net_g_2.pth").exists()
    assert (experiment / "tiny.yml").exists()
    assert sorted(p.name for p in here.iterdir()) == ["experiments"]
    log = next(experiment.glob("train_*.log")).read_text()
    assert re.search(r"# psnr: \d+\.\d+", log)
    for term in ("l_pix", "l_parsing", "l_eyes_pix", "l_brows_pix", "l_nose_pix", "l_mouth_pix"):
        assert f"{term}: " in log

    run = basicsr("train", "-opt", file, "--auto_resume", "--force_yml", "train:total_iter=4", cwd=here)
    assert run.returncode == 0, run.stderr
    assert "Resuming training from epoch: " in run.stderr + run.stdout
    assert (experiment / "models" / "net_g_4.pth").exists()
    assert [p.name for p in (here / "experiments").iterdir()] == ["tiny"]  # nothing was archived

    state = f"path:resume_state={experiment}/training_states/2.state"
    run = basicsr("train", "-opt", file, "--auto_resume", "--force_yml", "train:total_iter=4", state, cwd=here)
    assert run.returncode == 2
    assert "path.resume_state: --auto_resume goes on from the run's newest state instead: leave out one of them" in run.stderr

    test = run_options(face_set)
    test["path"] = {"pretrain_network_g": str(experiment / "models" / "net_g_4.pth"), "strict_load_g": True}
    test["datasets"] = {"test": test["datasets"]["val"]}
    run = basicsr("test", "-opt", write_options(tmp_path / "test.yml", test), cwd=here)
    assert run.returncode == 0, run.stderr
    assert (here / "results" / "tiny").is_dir()
    assert "# psnr: " in run.stderr + run.stdout


def broken(face_set, tmp_path, change) -> str:
    """The message for options changed by ``change``; they must be fine without the change."""
    opt = run_options(face_set)
    change(opt)
    with pytest.raises(WNetError) as error:
        options.check(opt, is_train=True, plugins=["wnet_arch"])
    assert error.value.exit_code == 2
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_options_these_tests_break_are_fine(face_set):
    options.check(run_options(face_set), is_train=True)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("name", None, "name is missing"),
        ("model_type", "WNetModle", "model_type: 'WNetModle' is not registered by basicsr, wnet_arch; did you mean 'WNetModel'"),
        ("num_gpu", 99, "num_gpu is 99"),
        ("scale", "8", "scale must be a whole number above 0, not '8'"),
        ("network_g.type", "WNett", "network_g.type: 'WNett'"),
        ("network_g.num_feats", 8, "network_g.num_feats: WNet has no such option; did you mean 'num_feat'"),
        ("network_g.peak", 3, "network_g: WNet takes 1, 2, 4 or 8 for peak"),
        ("network_g.scale", 4, "network_g.scale is 4, but scale is 8"),
        ("datasets.train.dataroot", "nowhere", "datasets.train: dataroot: there is no folder nowhere"),
        ("datasets.train.typo", 1, "datasets.train.typo: PairedFaceParsingDataset has no such option"),
        ("datasets.val.name", None, "datasets.val.name is missing"),
        ("datasets.valid", {"name": "x"}, "datasets.valid: phases are"),
        ("path.pretrain_network_g", "gone.pth", "path.pretrain_network_g: there is no file gone.pth"),
        ("path.resume_state", "gone.state", "path.resume_state: there is no file gone.state"),
        ("path.pretrained", "x", "path.pretrained is not an option"),
        ("train.total_iter", "many", "train.total_iter must be a whole number above 0, not 'many'"),
        ("train.optim_g.lr", "fast", "train.optim_g.lr must be a number above 0, not 'fast'"),
        ("train.precision", "fp61", "train.precision must be fp32, bf16, fp16 or auto, not 'fp61'; did you mean 'fp16'"),
        ("train.nonfinite", "ignore", "train.nonfinite must be stop or skip, not 'ignore'"),
        ("logger.keep_last", 0, "logger.keep_last must be a whole number above 0"),
        ("val.keep_best", "pnsr", "val.keep_best: no metric is called 'pnsr'; did you mean 'psnr'"),
        ("train.wnet_opt.type", "WNetLos", "train.wnet_opt.type: 'WNetLos'"),
        ("train.wnet_opt.pixel_wieght", 1, "did you mean 'pixel_weight'"),
        ("train.wnet_opt.parsing_target", "sr", "train.wnet_opt: WNetLoss: parsing_target"),
        ("val.metrics.psnr.type", "calculate_psrn", "val.metrics.psnr.type: 'calculate_psrn'"),
        ("val.val_freq", None, "val.val_freq is missing"),
    ],
)
def test_broken_options_are_named_before_anything_is_made(tmp_path, face_set, key, value, said):
    def change(opt):
        *parents, last = key.split(".")
        for parent in parents:
            opt = opt[parent]
        opt[last] = value

    assert said in broken(face_set, tmp_path, change)


def test_weights_of_another_configuration(tmp_path, face_set):
    torch.save({"params": create_network("WNet", 8, num_feat=16, peak=1).state_dict()}, tmp_path / "wide.pth")
    message = broken(face_set, tmp_path, lambda opt: opt["path"].update(pretrain_network_g=str(tmp_path / "wide.pth")))
    assert "was made for another configuration of WNet" in message


def test_set_for_another_scale(tmp_path):
    only_x8 = write_set(tmp_path / "x8", 1, scales=(8,))

    def change(opt):
        opt["scale"] = opt["network_g"]["scale"] = 4

    assert "was prepared for x8, not x4" in broken(only_x8, tmp_path, change)


def test_errors_are_one_line_and_leave_nothing_behind(tmp_path, face_set):
    opt = run_options(face_set)
    opt["datasets"]["train"]["dataroot"] = "nowhere"
    run = basicsr("train", "-opt", write_options(tmp_path / "bad.yml", opt), cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("basicsr: error: datasets.train: dataroot: there is no folder nowhere")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.yml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "is not valid YAML"),
        ("just text", "does not hold options"),
        ("a: !!python/object/apply:os.system ['touch sprung']", "is not valid YAML"),
        (None, "cannot read"),
    ],
)
def test_unreadable_option_files(tmp_path, text, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "opt.yml").write_text(text)
    with pytest.raises(UsageError, match=said):
        options.load(str(tmp_path / "opt.yml"))
    assert not (tmp_path / "sprung").exists()


def test_numbers_with_exponents_are_numbers_for_the_framework_too(tmp_path):
    (tmp_path / "opt.yml").write_text("train:\n  lr: 1e-4\n  eps: 1.0e-8\n  name: 1e\n")
    opt = options.load(str(tmp_path / "opt.yml"))
    assert opt["train"] == {"lr": 1e-4, "eps": 1e-8, "name": "1e"}
    assert options.load_as_framework(str(tmp_path / "opt.yml"))["train"]["lr"] == "1e-4"
    options.save(opt, str(tmp_path / "saved.yml"))
    assert options.load_as_framework(str(tmp_path / "saved.yml")) == opt


def test_overrides_follow_yaml_and_leave_the_rest(face_set):
    opt = run_options(face_set)
    changed = options.override(opt, ["train:optim_g:lr=1e-4", "val:metrics=~", "datasets:train:use_hflip=false", "name=a=b"])
    assert changed["train"]["optim_g"]["lr"] == 1e-4
    assert changed["val"]["metrics"] is None
    assert changed["datasets"]["train"]["use_hflip"] is False
    assert changed["name"] == "a=b"
    assert opt["train"]["optim_g"]["lr"] == 1e-3


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("train:total_itre=5", "no 'train:total_itre'; did you mean 'total_iter'"),
        ("train", "is not KEY:KEY=VALUE"),
        ("name:first=x", "no 'name:first'"),
        ("name=[1", "--force_yml name: the value is not valid YAML"),
    ],
)
def test_wrong_overrides_are_named(face_set, entry, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        options.override(run_options(face_set), [entry])


def test_unexpected_errors_are_one_line_unless_debugging(capsys):
    def crash(argv):
        raise RuntimeError("first line\nsecond line")

    assert run_command("tool", crash, []) == 1
    assert capsys.readouterr().err == "tool: error: RuntimeError: first line second line (--debug shows where)\n"
    with pytest.raises(RuntimeError):
        run_command("tool", crash, ["--debug"])


def test_interruption_is_no_traceback(capsys):
    def interrupt(argv):
        raise KeyboardInterrupt

    assert run_command("tool", interrupt, []) == 130
    assert capsys.readouterr().err == "tool: interrupted\n"


def test_test_files_take_other_networks_as_they_say(tmp_path, face_set):
    """The option file is W-Net's; the networks it names in a comment have no map."""
    torch.manual_seed(0)
    torch.save({"params": create_network("SRCNN", 8).state_dict()}, tmp_path / "net.pth")
    comment = options.packaged.find("test_wnet_x8").read_text()
    assert '--force_yml "network_g={type: SPARNet, scale: 8}" path:pretrain_network_g=FILE' in comment
    forced = ["network_g={type: SRCNN, scale: 8}", "path:pretrain_network_g=net.pth", f"datasets:test:dataroot={face_set}"]
    run = basicsr("test", "-opt", "test_wnet_x8", "--force_yml", *forced, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "# psnr: " in run.stderr + run.stdout
