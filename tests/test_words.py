"""Numbers with their nouns, in the words of the commands, too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wnet_arch
from wnet_arch.prepare.finalize import PrepareSummary
from wnet_arch.words import counted

#: A number in an f-string before a plural, as in ``f"{count} photos"``: 1 would read "1 photos".
UNCOUNTED = re.compile(
    r"f\".*\{(?!counted)[^{}]*\} (photo|face|image|file|point|shard|optimizer|epoch)s\b(?! (a second|of the model))"
)
#: Where the number is always above 1, or no count.
ABOVE_ONE = (
    "sets to validate on",
    "shards are there",
    "shard['count']",
    "{count} shards missing",
    "expected {",
    "images/s",
    "{NUM_POINTS}",
    "if large == 1",
)


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [(1, "photo", "1 photo"), (0, "photo", "0 photos"), (2, "face", "2 faces"), (12_345, "image", "12,345 images"),
     (1, "box", "1 box"),
     (3, "box", "3 boxes"), (2, "entry", "2 entries"), (2, "day", "2 days")],
)  # fmt: skip
def test_one_is_no_plural(count, noun, said):
    assert counted(count, noun) == said


def test_no_command_writes_a_number_before_a_plural_by_hand():
    found = []
    for file in Path(wnet_arch.__file__).parent.rglob("*.py"):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if UNCOUNTED.search(line) and not any(words in line for words in ABOVE_ONE):
                found.append(f"{file.name}:{number}: {line.strip()}")
    assert found == []


def test_a_set_of_one_face_is_told_so(tmp_path):
    summary = PrepareSummary(tmp_path / "set", {"": 1}, [], enlarged=1, without_landmarks=1)
    assert [line.partition(": ")[0] if "set" not in line else line.rpartition("/")[2] for line in summary.lines()] == [
        "set: 1 face", "1 of them was enlarged", "1 of them has no landmarks",
    ]  # fmt: skip
