"""The part of a card about degraded photos: what `check_degraded.py` measured, or what the card has of the same file."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from wnet_arch.weights import metadata, shipped
from wnet_arch.weights.hashing import sha256_file

SECTION = """
It was trained for other faces than those that were only reduced: for LR faces as photos from life have them. Restored group
photos, from `{command}`:

{table}
"""
#: The same part of a card that was written before.
WRITTEN = re.compile(re.escape(SECTION.rstrip()).replace(r"\{command\}", "[^`]+").replace(r"\{table\}", r"(?:\|.*\n)+"))


def fingerprint(name: str) -> str:
    """What a card calls the file of a network by, so that it can be told whether its numbers are of this file."""
    return f"SHA-256 `{sha256_file(shipped.path(name))[:16]}…`"


def section(name: str, folder: Path, card: Path) -> str:
    """Of a network that was trained on degraded faces; of any other, nothing.

    ``folder`` is what `check_degraded.py` wrote. Where there is none, the part stays as ``card`` has it, if that was written for
    the very file that ships. Exits with what to do if neither is there.
    """
    if metadata.DEGRADATION not in metadata.texts(shipped.path(name)):
        return ""
    if (folder / "table.md").is_file():
        command, table = ((folder / part).read_text(encoding="utf-8").strip() for part in ("command.txt", "table.md"))
        return SECTION.format(command=command, table=table)
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    kept = WRITTEN.search(text)
    if kept is None or fingerprint(name) not in text:
        sys.exit(
            f"{name} was trained on degraded faces, and {card.name} has no numbers of its file: "
            f"run scripts/bench/check_degraded.py --network {name} --out {folder} first"
        )
    return kept[0]
