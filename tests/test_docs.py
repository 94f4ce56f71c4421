"""What the documentation shows runs, and what it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import PATIENCE
from wnet_arch import weights
from wnet_arch.errors import WeightsError

ROOT = Path(__file__).parents[1]
OTHERS = ("datasets/README.md", "options/README.md", "scripts/README.md")
PAGES = [*sorted(ROOT.glob("*.md")), *(ROOT / name for name in OTHERS), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_page_runs(tmp_path):
    pytest.importorskip("skimage")
    try:
        weights.resolve("mtcnn", download=False)
    except WeightsError:
        pytest.skip("the detector's weights are not in the cache: `wnet weights fetch mtcnn`")
    code = "\n".join(blocks(ROOT / "docs" / "guides" / "python.md"))
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    numbers = dict(re.findall(r"^(bicubic|network) ([\d.]+)", run.stdout, flags=re.MULTILINE))
    assert float(numbers["network"]) > float(numbers["bicubic"]) + 1
    with Image.open(tmp_path / "restored.png") as restored:
        assert min(restored.size) > 40
    assert re.search(r"^.* True [248]$", run.stdout, flags=re.MULTILINE)  # the line of a face that was restored


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8"))
    here = [(page.parent / link if link else page, anchor) for link, anchor in links if "://" not in link]
    assert [str(target) for target, _ in here if not target.exists()] == []
    assert [f"{target}#{anchor}" for target, anchor in here if anchor and anchor not in anchors(target)] == []


def anchors(page: Path) -> list[str]:
    """Anchors of a page's headings, by the rule of hosting sites: lower case, hyphens for spaces, no other signs."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings]


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page != "index.md" and f"({page})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_option_files_and_scripts_that_are_named_exist(page):
    named = re.findall(r"(?<![\w/])((?:options|scripts)/[\w/]+\.(?:yml|py|sh))", page.read_text(encoding="utf-8"))
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []
