"""Lists of which photos are for training, validation and test, by number; ``datasets/`` links to them."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple


class NumberSplit(NamedTuple):
    """Splits of photos that are numbered. ``ranges``: first and last number by split; ``without``: numbers in no split."""

    ranges: dict[str, tuple[int, int]]
    without: frozenset[int]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.ranges)

    @property
    def counts(self) -> dict[str, int]:
        """Photos by split."""
        return {
            name: last - first + 1 - sum(first <= number <= last for number in self.without)
            for name, (first, last) in self.ranges.items()
        }

    def of(self, number: int) -> str | None:
        """The split of a photo, ``None`` if it is in none."""
        if number in self.without:
            return None
        return next((name for name, (first, last) in self.ranges.items() if first <= number <= last), None)


def read_split(name: str) -> NumberSplit:
    """Reads ``NAME.txt`` of this folder: lines ``SPLIT FIRST-LAST`` and ``without NUMBER ...``."""
    ranges: dict[str, tuple[int, int]] = {}
    without: set[int] = set()
    for line in (resources.files(__name__) / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        word, *numbers = line.partition("#")[0].split() or [""]
        if word == "without":
            without.update(map(int, numbers))
        elif word:
            first, last = numbers[0].split("-")
            ranges[word] = (int(first), int(last))
    return NumberSplit(ranges, frozenset(without))
