"""Whatever is imported first, BasicSR's import, which asks for much of this package, finds it whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE

ROOT = Path(__file__).parents[2] / "wnet_arch"
MODELS = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "models").glob("*.py"))


@pytest.mark.parametrize("file", sorted((ROOT / "training").glob("*.py")), ids=lambda file: file.stem)
def test_what_models_need_does_not_begin_with_the_framework(file):
    """BasicSR's import ends with that of the models: a module that has begun it is asked for before it is whole."""
    begins = re.search(r"^(from|import) basicsr", file.read_text(encoding="utf-8"), re.MULTILINE)
    needed = re.search(rf"^from wnet_arch\.training(\.{file.stem} import| import .*\b{file.stem}\b)", MODELS, re.MULTILINE)
    assert not (begins and needed)


def test_such_a_module_can_be_imported_first():
    run = subprocess.run(
        [sys.executable, "-c", "import wnet_arch.training.precision, basicsr"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.returncode == 0, run.stderr
