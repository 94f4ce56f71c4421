"""What the documentation shows runs, and what it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from wnet_arch import weights
from wnet_arch.errors import WeightsError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "datasets" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_page_runs(tmp_path):
    pytest.importorskip("skimage")
    try:
        weights.resolve("mtcnn", download=False)
    except WeightsError:
        pytest.skip("the detector's weights are not in the cache: `wnet weights fetch mtcnn`")
    code = "\n".join(blocks(ROOT / "docs" / "python.md"))
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    numbers = dict(re.findall(r"^(bicubic|network) ([\d.]+)", run.stdout, flags=re.MULTILINE))
    assert float(numbers["network"]) > float(numbers["bicubic"]) + 1
    assert (tmp_path / "restored.png").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_option_files_and_scripts_that_are_named_exist(page):
    named = re.findall(r"(?<![\w/])((?:options|scripts)/[\w/]+\.(?:yml|py|sh))", page.read_text(encoding="utf-8"))
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []
