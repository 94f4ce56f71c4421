"""The picture of MODEL_ZOO.md: cost against quality, a point for each network with its name beside it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import zoo_page

from wnet_arch import disk

#: A scale with fewer networks has no panels: there is nothing to compare.
FEWEST = 3
#: Where a name may stand: how far from its point, in 72nds of an inch, and on which side (right, up), the first best.
AWAY = (6, 12, 18, 26, 36, 48, 62)
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
LETTERS = {"fontsize": 8, "parse_math": False}
LINE = {"arrowstyle": "-", "color": "0.7", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}


def draw(measured: list[tuple[int, zoo_page.Measured]], path: Path) -> None:
    """Cost against PSNR and against LPIPS on the first set: a row for each scale that compares FEWEST, W-Net's family in colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    first = measured[0][1].found
    test_set, columns = first.sets[0].name, [c for name in ("psnr_dic", "lpips") for c in first.columns if c.id == name]
    costly = {scale: [n for n in one.found.at(scale) if n.parameters and n.macs] for scale, one in measured}
    rows = [(scale, one) for scale, one in measured if len(costly[scale]) >= FEWEST] or measured
    figure, panels = plt.subplots(len(rows), len(columns), figsize=(4.8 * len(columns), 3.6 * len(rows)), squeeze=False,
                                  layout="constrained", dpi=110)  # fmt: skip
    drawn = []
    for row, (scale, one) in zip(panels, rows):
        for panel, column in zip(row, columns):
            scores = {n.name: one.found.score(test_set, scale, n.name, column.id) for n in costly[scale]}
            points = [(n.name, n.macs / 1e9, scores[n.name].mean) for n in costly[scale] if scores[n.name]]
            drawn.append((panel, _scatter(panel, points)))
            title = f"{test_set}, x{scale}" + (f", {one.images:,} images each" if one.queue else "")
            panel.set(title=title, xlabel="GMACs a face", ylabel=f"{column.title} ({column.better} is better)")
    figure.draw_without_rendering()  # the panels lie where they will
    for panel, points in drawn:
        name_points(panel, points)
    with disk.replacing(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})
    plt.close(figure)


def _scatter(panel, points: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    for name, cost, value in points:
        ours = zoo_page.plain(name).lower().startswith("wnet")
        panel.scatter(cost, value, color="tab:blue" if ours else "tab:gray", zorder=2)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.margins(x=0.25, y=0.12)
    return points


def name_points(panel, points: list[tuple[str, float, float]]) -> None:
    """A name beside each point (name, x, y), the nearest place that no other point or name covers; far ones get a line."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    unit = panel.figure.dpi / 72
    spots = panel.transData.transform([(x, y) for _, x, y in points])
    taken = [Bbox.from_extents(x - 4 * unit, y - 4 * unit, x + 4 * unit, y + 4 * unit) for x, y in spots]
    for (name, x, y), spot in zip(points, spots):
        text = panel.annotate(
            name, (x, y), (0, 0), textcoords="offset points", ha="center", va="center", arrowprops=LINE, **LETTERS
        )
        text.set_in_layout(False)  # or the panels would move once more
        width, height = Text.get_window_extent(text).size  # without the line
        for away, (right, up) in itertools.product(AWAY, SIDES):
            place = np.array([right * (away * unit + width / 2), up * (away * unit + height / 2)])
            box = Bbox.from_bounds(*(spot + place - (width / 2, height / 2)), width, height)
            inside = panel.bbox.contains(*box.min) and panel.bbox.contains(*box.max)
            if inside and not any(box.overlaps(other) for other in taken):
                break
        text.set_position(place / unit)
        text.arrow_patch.set_visible(away > AWAY[0])
        taken.append(box)
