"""scripts/demo.sh up to the commands that it gives, with others in their place that only say what they were given."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import SCRIPTS

SAY = '#!/bin/sh\necho "$(basename "$0") $*" >> said.txt\n'


@pytest.fixture
def clone(tmp_path) -> Path:
    scripts, commands = tmp_path / "clone" / "scripts", tmp_path / "clone" / ".venv" / "bin"
    scripts.mkdir(parents=True)
    commands.mkdir(parents=True)
    shutil.copy(SCRIPTS / "demo.sh", scripts)
    for place in (scripts / "install.sh", commands / "wnet", commands / "python", commands / "basicsr"):
        place.write_text(SAY)
        place.chmod(0o755)
    return tmp_path / "clone"


def photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        (folder / f"{i}.png").write_bytes(b"")
    return folder


def demo(clone: Path, *arguments) -> subprocess.CompletedProcess:
    command = ["bash", str(clone / "scripts" / "demo.sh"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=clone.parent)


@pytest.mark.parametrize(("count", "held"), [(2, 1), (12, 2), (40, 8), (145, 24)])
def test_a_fifth_of_the_photos_is_held_out(clone, count, held):
    folder = photos(clone.parent / "my photos", count)
    assert demo(clone, "--faces", folder).returncode == 0
    prepare = next(line for line in (clone / "said.txt").read_text().splitlines() if line.startswith("wnet prepare"))
    assert (
        prepare == f"wnet prepare --images {folder} --crop five-point --parser compact --min-box 48 --holdout {held} --out demo/set"
    )


def test_results_of_other_faces_are_not_taken_for_these(clone):
    first, second = photos(clone.parent / "first", 3), photos(clone.parent / "second", 3)
    assert demo(clone, "--faces", first).returncode == 0
    assert demo(clone, "--faces", first).returncode == 0
    refused = demo(clone, "--faces", second)
    assert refused.returncode == 2
    assert refused.stderr == f"demo: error: demo/ was made from {first}; remove demo and experiments/wnet_lite_x8_demo first\n"
    assert demo(clone).returncode == 2
    shutil.rmtree(clone / "demo")
    assert demo(clone, "--faces", second).returncode == 0
