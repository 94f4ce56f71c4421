"""Each work-around of compat.py: it does its work where it is needed, and nothing elsewhere."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
import torch

from wnet_arch import compat
from wnet_arch.errors import UsageError, WNetError
from wnet_arch.training import patches


def hide(monkeypatch, *modules: str) -> None:
    """Makes modules impossible to find, loaded or not."""
    for name in modules:
        monkeypatch.delitem(sys.modules, name, raising=False)
    find_spec = compat.importlib.util.find_spec
    monkeypatch.setattr(compat.importlib.util, "find_spec", lambda name: None if name in modules else find_spec(name))


def test_functional_tensor_is_supplied_where_it_is_gone(monkeypatch):
    name = "torchvision.transforms.functional_tensor"
    hide(monkeypatch, name)
    assert compat.supply_functional_tensor()
    grey = sys.modules[name].rgb_to_grayscale(torch.ones(3, 2, 2))
    assert grey.shape == (1, 2, 2)
    assert not compat.supply_functional_tensor()


def test_scipy_filters_are_supplied_where_they_are_gone(monkeypatch):
    import scipy.ndimage

    name = "scipy.ndimage.filters"
    hide(monkeypatch, name)
    assert compat.supply_scipy_filters()
    assert sys.modules[name].convolve is scipy.ndimage.convolve


def test_distutils_comes_from_setuptools(monkeypatch):
    hide(monkeypatch, "distutils")
    assert compat.supply_distutils()


def test_missing_setuptools_is_said(monkeypatch):
    hide(monkeypatch, "distutils", "setuptools")
    with pytest.raises(WNetError, match="pip install setuptools"):
        compat.supply_distutils()


def test_distutils_are_left_alone_where_they_exist(monkeypatch):
    monkeypatch.setitem(sys.modules, "distutils", types.ModuleType("distutils"))
    assert not compat.supply_distutils()


def test_missing_framework_is_said(monkeypatch):
    hide(monkeypatch, "basicsr")
    with pytest.raises(WNetError, match=r"python -m wnet_arch\.install_basicsr"):
        compat.check_framework()


def test_fork_without_the_interface_is_refused_by_path(tmp_path):
    """A vendored ``basicsr`` in front of the real one, as face restoration repositories carry it."""
    (tmp_path / "basicsr").mkdir()
    (tmp_path / "basicsr" / "__init__.py").write_text("")
    run = subprocess.run([sys.executable, "-c", "import wnet_arch, basicsr"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode
    assert str(tmp_path / "basicsr") in run.stderr.splitlines()[-1]


def test_the_framework_in_use_is_described():
    line = compat.describe_framework()
    assert compat.check_framework() in line
    assert torch.__version__ in line


def resume_options(tmp_path, **path) -> dict:
    return {"auto_resume": False, "path": {"experiments_root": str(tmp_path), **path}}


def test_resume_needs_no_gpu_and_finds_the_newest_state(tmp_path):
    states = tmp_path / "training_states"
    states.mkdir()
    for iteration in (900, 1000):
        torch.save({"iter": iteration, "epoch": 0, "optimizers": [], "schedulers": []}, states / f"{iteration}.state")
    opt = dict(resume_options(tmp_path), auto_resume=True, network_g={})
    opt["path"]["models"] = str(tmp_path)

    state = patches.load_resume_state(opt)
    assert state["iter"] == 1000
    assert opt["path"]["resume_state"].endswith("1000.state")


def test_a_run_goes_on_from_its_own_files_whatever_key_those_it_began_with_had(tmp_path):
    states = tmp_path / "training_states"
    states.mkdir()
    torch.save({"iter": 10, "epoch": 0, "optimizers": [], "schedulers": []}, states / "10.state")
    opt = dict(
        resume_options(tmp_path, param_key_g="generator", param_key_d=None, models=str(tmp_path)), auto_resume=True, network_g={}
    )
    again = {**opt, "path": {**opt["path"], "ignore_resume_networks": "network_d"}}  # begins with the file that is named
    patches.load_resume_state(opt)
    assert (opt["path"]["param_key_g"], opt["path"]["param_key_d"]) == ("params", "params")
    patches.load_resume_state(again)
    assert (again["path"]["param_key_g"], again["path"]["param_key_d"]) == ("params", None)


def test_nothing_to_resume_is_no_error(tmp_path):
    assert patches.load_resume_state(dict(resume_options(tmp_path), auto_resume=True)) is None
    assert patches.load_resume_state(resume_options(tmp_path)) is None


def test_resume_refuses_missing_files_and_files_that_are_no_states(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        patches.load_resume_state(resume_options(tmp_path, resume_state=str(tmp_path / "7.state")))
    (tmp_path / "8.state").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="not a readable training state"):
        patches.load_resume_state(resume_options(tmp_path, resume_state=str(tmp_path / "8.state")))


def test_checking_options_leaves_the_logger_to_the_trainer(tmp_path):
    """In a fresh process: a message inside is not printed, and the first real call still opens the log file."""
    code = (
        "from wnet_arch import compat; from basicsr.utils import get_root_logger\n"
        "with compat.quiet_logger(): get_root_logger().info('hidden')\n"
        "get_root_logger(log_file='run.log').info('shown')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "hidden" not in run.stderr + run.stdout
    assert "shown" in (tmp_path / "run.log").read_text()
