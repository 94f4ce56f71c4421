"""Importing the package leaves BasicSR's trainer alone; one function puts our parts in place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_train_command import run_options, write_options
from wnet_arch import options

FOREIGN = """
import sys
import {first}
import basicsr.train, basicsr.test, basicsr.data, basicsr.utils.options, basicsr.utils.logger, basicsr.models, basicsr.losses
import basicsr.models.sr_model, basicsr.models.base_model, basicsr.utils.misc, basicsr.utils.dist_util, wnet_arch
{then}
print(sorted(
    f"{{module.__name__}}.{{name}}"
    for module in list(sys.modules.values()) if getattr(module, "__name__", "").split(".")[0] == "basicsr"
    for name, value in vars(module).items()
    if (getattr(value, "__module__", None) or "").split(".")[0] == "wnet_arch"
))
"""


def foreign(first: str, then: str = "") -> list[str]:
    """What of ours is found in BasicSR's modules by a fresh interpreter."""
    code = FOREIGN.format(first=first, then=then)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return eval(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("first", ["wnet_arch", "wnet_arch.models", "wnet_arch.options.schema"])
def test_the_import_leaves_all_functions_of_the_framework_as_they_are(first):
    assert foreign(first) == []


def test_one_function_puts_ours_in_place_and_can_be_called_twice():
    once, twice = (foreign("wnet_arch", "wnet_arch.patch_trainer()\n" * times) for times in (1, 2))
    assert once == twice == [
        "basicsr.train.AvgTimer", "basicsr.train.MessageLogger", "basicsr.train.create_train_val_dataloader",
        "basicsr.train.init_tb_loggers", "basicsr.train.load_resume_state", "basicsr.utils.options.init_dist",
    ]  # fmt: skip


SCRIPT = """
import sys, wnet_arch
from basicsr.train import train_pipeline
{patch}
sys.argv = ["train", "-opt", "run.yml"] + {words}
train_pipeline(".")
"""


def run_script(folder: Path, words: list[str], patch: str) -> subprocess.CompletedProcess:
    code = SCRIPT.format(words=words, patch=patch)
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_a_script_trains_and_resumes_by_the_pipeline_of_the_framework(tmp_path, face_set):
    opt = options.complete(run_options(face_set))
    iterations = opt["train"]["total_iter"]
    write_options(tmp_path / "run.yml", opt)
    first = run_script(tmp_path, [], "wnet_arch.patch_trainer()")
    assert first.returncode == 0, first.stderr[-2000:]
    opt["train"]["total_iter"] = iterations + 2
    write_options(tmp_path / "run.yml", opt)
    second = run_script(tmp_path, ["--auto_resume"], "wnet_arch.patch_trainer()")
    assert second.returncode == 0, second.stderr[-2000:]
    experiment = tmp_path / "experiments" / opt["name"]
    assert "Resuming training from epoch" in second.stdout + second.stderr
    lines = [json.loads(line) for line in (experiment / "log.jsonl").read_text().splitlines()]
    assert max(line["iter"] for line in lines) == iterations + 2


def test_our_models_train_in_the_pipeline_as_it_is(tmp_path, face_set):
    opt = options.complete(run_options(face_set))
    write_options(tmp_path / "run.yml", opt)
    run = run_script(tmp_path, [], "")
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "experiments" / opt["name"] / "models" / "net_g_latest.pth").is_file()
