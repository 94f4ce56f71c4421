"""The command ``wnet`` itself: what it imports, and what it says of files."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wnet_arch import weights
from wnet_arch.cli import wnet
from wnet_arch.faces import detectors
from wnet_arch.prepare.command import PrepareOptions

IMPORTED = """
import sys
from wnet_arch.cli import wnet
try:
    wnet._main({words})
except SystemExit:
    pass
print(sorted(name for name in {heavy} if name in sys.modules))
"""


@pytest.mark.parametrize("words", [["--version"], ["options", "list"], ["restore", "--help"], ["demo", "--help"]])
def test_words_that_need_no_network_import_no_torch(words):
    code = IMPORTED.format(words=words, heavy=["torch", "basicsr", "cv2", "pydantic"])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_networks_are_there_when_they_are_asked_for():
    code = "import wnet_arch, sys; assert 'torch' not in sys.modules; print(wnet_arch.list_networks(), wnet_arch.create_network)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "WNet" in run.stdout


@pytest.mark.parametrize("words", [["--help"], ["weigths"], ["--debug"], []])
def test_a_help_and_a_mistake_name_all_commands(words, capsys):
    with pytest.raises(SystemExit):
        wnet._main(words)
    said = "".join(capsys.readouterr())
    if words != ["--debug"] and words:
        assert all(command in said for command in wnet.COMMANDS)
    assert "COMMAND" in said


def test_whatever_is_here_is_listed_with_its_size(capsys):
    assert wnet._main(["weights", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line and not line.startswith(" ")}
    shipped = [entry.name for entry in weights.list_entries() if entry.shipped]
    assert len(shipped) > 3
    for name in shipped:
        assert " MB, here: " in lines[name]
    assert not [line for line in lines.values() if "unknown" in line]


@pytest.mark.parametrize("words", [["restore", "a.png", "-o", "b"], ["prepare", "folder", "--root", "a", "--out", "b"]])
def test_every_command_has_one_default_detector_and_names_all(words, capsys):
    parser = wnet.build_parser()
    given = getattr(parser.parse_args(words), "detector", None)
    assert given in (None, detectors.DEFAULT)  # not given: the default of PrepareOptions
    assert PrepareOptions("a", "b").detector == detectors.DEFAULT
    with pytest.raises(SystemExit):
        parser.parse_args([*words, "--help"])
    said = capsys.readouterr().out
    assert f"(default: {detectors.DEFAULT})" in " ".join(said.split())
    assert all(name in said for name in detectors.DETECTORS)
