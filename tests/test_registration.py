"""BasicSR and this package find each other in any order, and networks run without BasicSR."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wnet_arch.archs import base

KNOWN = """
from basicsr.utils import registry as r
print("WNet" in r.ARCH_REGISTRY, "EDSR_face" in r.ARCH_REGISTRY, "SRGANDiscriminator" in r.ARCH_REGISTRY,
      "WNetModel" in r.MODEL_REGISTRY, "WNetLoss" in r.LOSS_REGISTRY, "PairedFaceParsingDataset" in r.DATASET_REGISTRY,
      "calculate_lpips" in r.METRIC_REGISTRY)
import basicsr.train
print(basicsr.train.load_resume_state.__module__, basicsr.train.MessageLogger.__module__)
"""


def python(code: str) -> list[str]:
    """What a fresh interpreter prints, line by line."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_network_runs_without_the_framework():
    """Start-up is torch's alone: BasicSR, torchvision and SciPy are not imported."""
    code = (
        "import sys, torch, wnet_arch\nnet = wnet_arch.load_pretrained('wnet_x8')\n"
        "print(tuple(net(torch.rand(1, 3, 16, 16)).shape))\n"
        "print([name for name in ('basicsr', 'torchvision', 'scipy') if name in sys.modules])"
    )
    assert python(code) == ["(1, 3, 128, 128)", "[]"]


@pytest.mark.parametrize(
    "first",
    ["import wnet_arch, basicsr", "import wnet_arch.compat; wnet_arch.compat.supply_modules(); import basicsr, wnet_arch"]
    + [f"import wnet_arch.{name}" for name in ("losses", "models", "options.schema")],
)
def test_everything_is_registered_in_whatever_order_things_are_imported(first):
    lines = python(first + "\n" + KNOWN)
    assert lines[0] == "True True True True True True True"
    assert lines[1] == "basicsr.train basicsr.utils.logger"


def test_a_network_defined_later_is_registered_at_once():
    code = """
import wnet_arch, basicsr
from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
@register_network
class Plain(FaceSRNetwork):
    def __init__(self, scale=8): super().__init__(scale)
    def restore(self, lq): return enlarge(lq, self.scale)
print(type(basicsr.archs.build_network({"type": "Plain", "scale": 4})).__name__)
print(type(wnet_arch.archs.base.build_network({"type": "Plain", "scale": 4})).__name__)
"""
    assert python(code)[-2:] == ["Plain", "Plain"]


def test_names_that_the_framework_has_too_are_known():
    """``build_network`` need not ask BasicSR which of two networks of one name is meant."""
    from basicsr.utils.registry import ARCH_REGISTRY

    ours = [name for name, cls in base.NETWORKS.items() if cls.__module__.startswith("wnet_arch.")]
    assert tuple(name for name in ours if f"{name}_face" in ARCH_REGISTRY) == base.TWINS
    assert base.build_network({"type": "EDSR_face", "scale": 8, "num_feat": 8}).scale == 8
    assert base.build_network({"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3}).__module__.startswith("basicsr.")


def test_building_leaves_the_block_as_it_was():
    block = {"type": "WNetLite", "scale": 4, "num_feat": 16}
    base.build_network(block)
    assert block == {"type": "WNetLite", "scale": 4, "num_feat": 16}


WITHOUT_FRAMEWORK = """
import importlib, sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "basicsr":
            raise ModuleNotFoundError("No module named 'basicsr'", name="basicsr")
sys.meta_path.insert(0, Hide())
sys.argv = sys.argv[1:]
importlib.import_module(f"wnet_arch.cli.{sys.argv[0]}").main()
"""


@pytest.mark.parametrize("command", ["basicsr train -opt wnet_x8", "wnet validate wnet_x8", "wnet profile --all"])
def test_commands_without_the_framework_name_the_command_that_brings_it(tmp_path, command):
    words = command.split()
    run = subprocess.run([sys.executable, "-c", WITHOUT_FRAMEWORK, *words], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == f"{words[0]}: error: BasicSR is not installed: run `python -m wnet_arch.install_basicsr`\n"
    assert not list(tmp_path.iterdir())
