"""PSNR against images seen, for every training of a queue: a picture and a page, from what the trainings logged.

    python scripts/zoo/train_queue.py scripts/zoo/queues/table1_x8.toml
    python scripts/zoo/curves.py scripts/zoo/queues/table1_x8.toml --page docs/results/equal_images_x8.md

Each validation of a training (its moving average, on its `val` set, by the metrics of its option file) is a point of its line.
Trainings under way are drawn as far as they are, with the images they have seen. The page names all that have not ended, with the
hours that are left at the pace of their own steps; let the queue work on a training for a minute to have its pace. A training that
has not begun in --out, and whose network ships (`train_queue.py --ship`), is drawn from the log that came with its weights.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import shipping
import train_queue
import train_zoo

from wnet_arch import disk, options
from wnet_arch.benchmark.tables import table
from wnet_arch.cli.common import run_script
from wnet_arch.errors import UsageError
from wnet_arch.inference import profiling
from wnet_arch.inference.provenance import training_set

PAGE = """# Equal images, x{scale}

PSNR of networks that saw the same faces in the same order, {images:,} of them in batches of {batch}, by one recipe
(`scripts/zoo/train_zoo.py`; each with its own loss, and what else differs stands in the queue's file). Validated on {val}:
the moving average of the weights, by the metrics of the option files.

    {command}
{ended}{unfinished}
![PSNR against images seen, one line for each network]({picture})
"""
UNFINISHED = """
Not trained to the end yet, with the time that is left {where}:

{table}
"""
#: dB that the picture shows below the lowest end: how a training begins would make all ends look alike.
BELOW = 0.8
#: Ends the registered name where the framework has a network of the same name.
FACE = "_face"
HEADS = ["network", "PSNR", "SSIM", "parameters", "GMACs"]


@dataclass(frozen=True)
class Course:
    """What one training has logged.

    ``start``: the training whose weights it began with. ``points``: images seen, PSNR, SSIM at each validation. ``seen``: images,
    in all. ``step``: seconds, the median.
    """

    name: str
    start: str | None
    args: argparse.Namespace
    points: list[tuple[int, float, float | None]]
    seen: int
    step: float | None

    @property
    def label(self) -> str:
        return f"{self.name}, from {self.start}" if self.start else self.name

    @property
    def whole(self) -> int:
        """Images of all its iterations."""
        return self.args.images // self.args.batch * self.args.batch

    @property
    def has_ended(self) -> bool:
        return bool(self.points) and self.points[-1][0] >= self.whole

    @property
    def hours_left(self) -> float | None:
        return (self.whole - self.seen) / self.args.batch * self.step / 3600 if self.step else None


def courses(trainings: list[train_queue.Training], queue: str) -> list[Course]:
    """All of them, in the queue's order; those that have not begun, and do not ship, have seen no image."""
    found = []
    for training in trainings:
        args = train_zoo.build_parser().parse_args(training.arguments)
        try:
            lines = training.log()
        except FileNotFoundError:  # it has not begun here
            lines = shipping.shipped_log(training.ship, queue, args)
        points = [(line["iter"] * args.batch, line["psnr"], line.get("ssim")) for line in lines if "psnr" in line]
        steps = [line["time"] for line in lines if "time" in line]
        seen = max((line["iter"] * args.batch for line in lines), default=0)
        found.append(Course(training.name, training.after, args, points, seen, statistics.median(steps) if steps else None))
    return found


def ended(found: list[Course]) -> str:
    """The table of trainings that have seen all their images, the best first; empty where there is none."""
    lines = []
    for course in sorted((c for c in found if c.has_ended), key=lambda course: -course.points[-1][1]):
        kind, changed = _network(course.args)
        cost = profiling.cost(kind, course.args.scale, **changed)
        _, psnr, ssim = course.points[-1]
        shown = f"{ssim:.4f}" if ssim is not None else "–"
        lines.append([course.label, f"{psnr:.2f}", shown, f"{cost.used / 1e6:.1f} M", f"{cost.macs / 1e9:.2f}"])
    return f"\n{table(HEADS, lines, left=1)}\n" if lines else ""


def _network(args: argparse.Namespace) -> tuple[str, dict]:
    """What was trained, SRResNet by the option file of SRGAN, and the options: those of that file and of the training."""
    block = options.load(str(train_zoo.option_file(args.network, args.scale)))["network_g"]
    given = {key: value for key, value in block.items() if key not in ("type", "scale")}
    return block["type"].removesuffix(FACE), {**given, **dict(args.network_option)}


def unfinished(found: list[Course], hardware: str | None) -> str:
    """The part of the page about trainings that have not seen all their images; empty where there is none."""
    lines = []
    for course in (c for c in found if not c.has_ended):
        psnr = f"{course.points[-1][1]:.2f} after {course.points[-1][0]:,}" if course.points else "–"
        left = f"{course.hours_left:.1f} h" if course.hours_left is not None else "not known yet"
        lines.append([course.label, f"{course.seen:,} of {course.args.images:,}", psnr, left])
    where = f"on {hardware}" if hardware else "where they were trained, beside other work"
    return UNFINISHED.format(where=where, table=table(["network", "images seen", "PSNR", "left"], lines, left=1)) if lines else ""


def draw(found: list[Course], path: Path) -> None:
    """One line a training, named at its end; W-Net's family in colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(8, 5), layout="constrained")
    ends = spread([course.points[-1][1] for course in found])
    seen = max(course.points[-1][0] for course in found)
    for course, end in zip(found, ends):
        images, values = zip(*((images, psnr) for images, psnr, _ in course.points))
        ours = course.args.network.startswith("WNet")
        panel.plot(images, values, marker="o", markersize=3, color="tab:blue" if ours else "0.55", zorder=3 if ours else 2)
        panel.annotate(course.name, (images[-1], values[-1]), xytext=(seen * 1.02, end), fontsize=8, parse_math=False,
                       va="center", arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.6})  # fmt: skip
    panel.set(xlabel="images seen", ylabel="PSNR, dB (moving average)")
    panel.set_xlim(0, seen * 1.25)
    panel.set_ylim(bottom=min(ends) - BELOW)
    panel.grid(color="0.92")
    with disk.replacing(path) as part:
        figure.savefig(part, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def spread(heights: list[float]) -> list[float]:
    """Heights of names, from the top down, none nearer to the one above than a 22nd of what all of them cover."""
    apart = (max(heights) - min(heights) or 1.0) / 22
    places: list[float] = []
    for height in heights:
        places.append(min([height, *(place - apart for place in places[-1:])]))
    return places


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("queue", type=Path, metavar="QUEUE.toml")
    add("--out", type=Path, default=Path("zoo"), metavar="DIR", help="of train_queue.py (default: zoo)")
    add("--page", type=Path, required=True, metavar="FILE", help="Markdown; its picture lies beside it, or in docs/pictures")
    add("--hardware", metavar="TEXT", help="on what the trainings were that have not ended, for the hours that are left")
    args = parser.parse_args()
    try:
        trainings = train_queue.read(args.queue, args.out)
    except UsageError as error:
        sys.exit(f"curves: error: {error}")
    found = courses(trainings, args.queue.stem)
    if not any(course.points for course in found):
        sys.exit(f"curves: error: no training of {args.queue} has validated in {args.out} yet; train_queue.py runs them")
    for key in ("scale", "images", "batch"):
        values = {getattr(course.args, key) for course in found}
        if len(values) > 1 or None in values:
            shown = ", ".join(map(str, values - {None})) or "no number"
            sys.exit(f"curves: error: {args.queue}: its trainings must have one number of `{key}`, not {shown}")
    write(args.page.resolve(), found, shlex.join(["python", "scripts/zoo/curves.py", *sys.argv[1:]]), args.hardware)
    return 0


def write(page: Path, found: list[Course], command: str, hardware: str | None) -> None:
    docs = next((folder for folder in page.parents if folder.name == "docs"), None)
    picture = (docs / "pictures" if docs else page.parent) / f"{page.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(sorted((course for course in found if course.points), key=lambda course: -course.points[-1][1]), picture)
    first = found[0].args
    text = PAGE.format(
        scale=first.scale, images=first.images, batch=first.batch, command=command,
        val=training_set({"dataroot": str(Path(first.val).resolve())}),
        ended=ended(found), unfinished=unfinished(found, hardware), picture=os.path.relpath(picture, page.parent),
    )  # fmt: skip
    disk.write_text(page, text)
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
