"""The words of pages, helps and messages: numbers with their nouns, and phrases that must not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import wnet_arch
from tests.test_docs import PAGES, ROOT
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
     (3, "box", "3 boxes"), (2, "entry", "2 entries"), (2, "day", "2 days"),
     (5_334, "epoch", "5,334 epochs"), (2, "patch", "2 patches")],
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


#: What to write instead, and what is not written (CONTRIBUTING.md, "Words").
PHRASES = {
    "instead of": r"\b(?:in|takes?|took) (?:the )?place of\b",
    "after": r"\bbehind (?:its|their|this|that) (?:last|first|training|validation|checkpoint|iteration)|\bthose behind the\b",
    "about": r"\bsome (?:\d|two|three|four|five|six|ten|twenty|fifty|an? hundred|hundred|thousand)\b",
    "N times, by this": r"\bso many times\b|\bso much of\b",
    "everything else": r"\ball else\b",
    "depends on": r"\b(?:it|they|numbers?) rests? on\b",
    "has": r"\bbears? (?:its|the|no|an?)\b",
    "a sentence of its own": r"\bthat were there\b|\bthat nothing leaves\b|\bknows? where in\b",
}


def unwanted(text: str) -> list[str]:
    """Phrases of a text that are not written, each with what to write."""
    words = " ".join(text.split())
    return [f"{found[0]!r}: write {better!r}" for better, phrase in PHRASES.items() for found in re.finditer(phrase, words)]


def messages(source: str) -> Iterator[str]:
    """Texts of a module but its docstrings: helps, messages, what is written to files."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    docstrings = {id(first.value) for first in bodies if isinstance(first, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_pages_are_plain(page):
    assert unwanted(page.read_text(encoding="utf-8")) == []


def test_helps_and_messages_are_plain():
    files = Path(wnet_arch.__file__).parent.rglob("*.py")
    found = [
        (file.name, phrase) for file in files for text in messages(file.read_text(encoding="utf-8")) for phrase in unwanted(text)
    ]
    assert found == []


def test_phrases_are_found_and_their_neighbours_are_not():
    bad = "done behind\nits last checkpoint; some two minutes; 4 in place of 1; all else stays; it bears its name"
    assert len(unwanted(bad)) == 5
    assert unwanted("Some faces behind the first row; two in a place of their own; a bear; 4 instead of 1; everything else") == []
