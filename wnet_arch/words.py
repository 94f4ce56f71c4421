"""Words for people."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 face``, ``1,000 faces``, ``0 boxes``, ``2 adversaries``, ``5 epochs``.

    Args:
        count: how many.
        noun: one of them.
    """
    if count == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("och"):
        return f"{count:,} {noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{count:,} {noun[:-1]}ies"
    return f"{count:,} {noun}s"
