"""Options of commands by the names they had in earlier versions: taken, with a note, and shown in no help."""

from __future__ import annotations

import pytest

from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (["weights", "list", "--offline", "here"], "--offline", "--weights-dir"),
        (["prepare", "--images", "nowhere", "--out", "set", "--min-face", "10"], "--min-face", "--min-box"),
        (
            ["prepare", "celeba", "--root", "nowhere", "--out", "set", "--mode", "I", "--offline", "here"],
            "--offline",
            "--weights-dir",
        ),
        (["restore", "nowhere.png", "-o", "out", "--network", "Bicubic", "--offline", "here"], "--offline", "--weights-dir"),
    ],
)
def test_an_old_option_is_taken_with_a_note(words, old, new, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_command("wnet", wnet._main, words)
    said = capsys.readouterr().err
    assert f"note: {old} is called {new} now\n" in said
    assert "unrecognized" not in said


@pytest.mark.parametrize("command", [["prepare"], ["restore"], ["weights", "fetch"], ["demo"]])
def test_help_shows_the_names_of_today_alone(command, capsys):
    with pytest.raises(SystemExit):
        wnet._main([*command, "--help"])
    text = capsys.readouterr().out
    assert "--weights-dir" in text
    assert "--offline" not in text


def test_a_wrong_value_is_still_a_mistake(capsys):
    with pytest.raises(SystemExit):
        wnet._main(["prepare", "--images", "x", "--out", "y", "--min-face", "wide"])
    assert "invalid int value: 'wide'" in capsys.readouterr().err
