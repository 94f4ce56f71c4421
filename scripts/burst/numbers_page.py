"""The numbers that burst.py measured, as a section of docs/results/speed.md: one for each card.

python scripts/burst/numbers_page.py zoo/numbers.json --write docs/results/speed.md
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

HEAD = (
    "images/s", "step, ms", "host, ms", "device, ms", "memory, GiB", "convolutions, TFLOP/s", "bare ones", "share",
    "in training, images/s", "of it waiting for images", "images seen", "PSNR, dB",
)  # fmt: skip


def table(known: dict) -> str:
    """Markdown: a row for each training, an empty cell for what was not measured."""
    lines = [f"| training | {' | '.join(HEAD)} |", f"| --- |{' ---: |' * len(HEAD)}"]
    for name, one in known["trainings"].items():
        lines.append(f"| `{name}` | {' | '.join(cells(one))} |")
    return "\n".join(lines)


def cells(one: dict) -> list[str]:
    trained = one.get("trained", {})
    share = one["flops_per_second"] / one["ceiling"] if one.get("ceiling") else None
    waiting = trained["data_time"] / trained["time"] if trained.get("time") and "data_time" in trained else None
    return [
        number(one.get("images_per_second"), 1), number(one.get("step"), 1, 1000), number(one.get("host_time"), 1, 1000),
        number(one.get("device_time"), 1, 1000), number(one.get("memory"), 1, 2**-30),
        number(one.get("flops_per_second"), 3, 1e-12), number(one.get("ceiling"), 3, 1e-12), number(share, 0, 100, " %"),
        number(trained.get("images_per_second"), 1), number(waiting, 0, 100, " %"),
        f"{trained['images']:,}" if trained.get("images") else "", number(trained.get("psnr"), 2),
    ]  # fmt: skip


def number(value: float | None, digits: int, factor: float = 1, unit: str = "") -> str:
    return "" if value is None else f"{value * factor:.{digits}f}{unit}"


def section(known: dict) -> str:
    """With marks around it, by which it is found and replaced."""
    machine = known["machine"]
    card, batches = (
        machine["card"],
        sorted({(one["batch"], one.get("precision")) for one in known["trainings"].values() if "batch" in one}),
    )
    what = ", ".join(f"{batch} in {precision}" for batch, precision in batches)
    return (
        f"<!-- burst: {card} -->\n## Training on {card}\n\n"
        f"torch {machine['torch']}, {machine['processors']} processors; batches of {what}. By "
        "`scripts/burst/burst.py` ([burst.md](../guides/burst.md)): a step of the trainer on images in memory, by the clocks of "
        "host and device; the convolutions of a step, forward and backward, and what bare "
        "ones of the same shapes reach; then the training itself, with its loader.\n\n"
        f"{table(known)}\n<!-- end of burst: {card} -->\n"
    )  # fmt: skip


def write(known: dict, page: Path) -> None:
    """Puts the section in the place of the one of the same card, or at the end of the page."""
    text, card = page.read_text(encoding="utf-8"), re.escape(known["machine"]["card"])
    old = re.compile(rf"<!-- burst: {card} -->.*?<!-- end of burst: {card} -->\n", re.DOTALL)
    new = section(known)
    text = old.sub(lambda _: new, text) if old.search(text) else f"{text.rstrip()}\n\n{new}"
    page.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", type=Path, help="zoo/numbers.json, as rebuild.py leaves it")
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="where the section goes (default: it is printed)")
    args = parser.parse_args()
    try:
        known = json.loads(args.numbers.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"numbers_page.py: error: {args.numbers}: {error}")
    if args.write:
        write(known, args.write)
    else:
        print(section(known), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
