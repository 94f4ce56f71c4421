"""Parts of a data set that different machines work on: which photos belong to which.

A photo belongs to the shard that the CRC-32 of its key names. So a shard needs to know no other photo, its share of 200 million
names is all it keeps in memory, and files whose names clash meet in one shard. ``wnet prepare merge`` brings keys into order.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from wnet_arch.errors import UsageError

_NAME = ".shard-{}-of-{}"


class Shard(NamedTuple):
    """Part ``index``, from 0, of ``count``."""

    index: int  # type: ignore[assignment]  # replaces the tuple's method
    count: int  # type: ignore[assignment]  # likewise

    @classmethod
    def parse(cls, text: str | None) -> Shard | None:
        """Reads ``"I/N"``; N/N is 0/N, so that counting from 1 works, too.

        Without a text, or with ``"auto"``, the rank of a process that torchrun has started (RANK, WORLD_SIZE); ``None`` if it
        has none, or is alone.

        Raises:
            UsageError: the text says something else, or ``"auto"`` where there are no ranks.
        """
        if text in (None, "auto"):
            rank, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
            if rank.isdecimal() and world.isdecimal() and int(rank) < int(world):
                return cls(int(rank), int(world)) if int(world) > 1 else None
            if text is None:
                return None
            raise UsageError("--shard auto: RANK and WORLD_SIZE are not set, as torchrun sets them; give I/N")
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        index, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not count or index > count:
            raise UsageError(f"--shard {text}: give I/N, such as 0/4, 1/4, 2/4 and 3/4")
        return cls(index % count, count)

    def holds(self, key: str) -> bool:
        """Whether the photo of this key belongs to this part."""
        return zlib.crc32(key.encode()) % self.count == self.index

    def target(self, out: Path) -> Path:
        """Where this part of the set ``out`` is written."""
        return out.with_name(out.name + _NAME.format(self.index, self.count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def find(paths: list[Path]) -> list[Path]:
    """The shard folders that paths stand for: each itself, or all ``PATH.shard-I-of-N`` there are.

    Raises:
        UsageError: a path is neither.
    """
    found: list[Path] = []
    for path in paths:
        pattern = re.compile(re.escape(path.name) + _NAME.format(r"\d+", r"\d+"))
        shards = sorted(p for p in path.parent.glob("*") if pattern.fullmatch(p.name)) if path.name else []
        if not shards and not path.is_dir():
            raise UsageError(f"there is no shard {path}, and no {path}.shard-I-of-N")
        found += shards or [path]
    return list(dict.fromkeys(found))
