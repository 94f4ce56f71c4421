"""The checks, the hosted workflow and the hook run the same scripts, on every Python that the package names."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
import yaml

from wnet_arch.version import __version__

ROOT = Path(__file__).parents[1]
SCRIPTS = ("scripts/install.sh", "scripts/check.sh", "scripts/docs.sh", "scripts/test.sh")


@pytest.mark.parametrize("path", [".ci/run", ".github/workflows/tests.yml"])
def test_the_same_scripts_run_everywhere(path):
    if not (ROOT / path).exists():
        pytest.skip("a source archive comes without")
    assert re.findall(r"bash (\S+)", (ROOT / path).read_text(encoding="utf-8")) == list(SCRIPTS)


def test_the_workflow_has_every_python_that_the_package_names():
    if not (ROOT / ".github").exists():
        pytest.skip("a source archive comes without")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert jobs["tests"]["strategy"]["matrix"]["python"] == named


def test_every_place_has_the_one_version():
    places = {"CITATION.cff": r"^version: (\S+)$", "baselines/pyproject.toml": r'^version = "(\S+)"'}
    found = {
        place: re.findall(rule, (ROOT / place).read_text(encoding="utf-8"), re.M)
        for place, rule in places.items()
        if (ROOT / place).exists()
    }
    assert found
    assert all(versions == [__version__] for versions in found.values()), found


def test_scripts_are_strict():
    for script in SCRIPTS:
        text = (ROOT / script).read_text(encoding="utf-8")
        assert "set -euo pipefail" in text, script
    assert (ROOT / "scripts" / "check.sh").stat().st_mode & stat.S_IRUSR
