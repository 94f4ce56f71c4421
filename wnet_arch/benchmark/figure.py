"""A figure for print like the paper's Figure 4: a row a face, a column a network, a detail enlarged below, numbers beneath."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wnet_arch import disk
from wnet_arch.benchmark import drawings
from wnet_arch.benchmark.cache import Cache
from wnet_arch.benchmark.drawings import TRUE, DrawnFace
from wnet_arch.benchmark.results import Results, SetRecord
from wnet_arch.errors import UsageError, did_you_mean, install_extra, named

SUFFIXES = (".png", ".pdf", ".svg")
#: Width of a column in inches, and room for the numbers beneath an image.
_COLUMN, _NOTE = 1.0, 0.34
_BOX = "#ffd21f"


@dataclass(frozen=True)
class FigureOptions:
    """See ``wnet report figure``. ``crop``: left, top and side of the enlarged square, as parts of the image's sides."""

    faces: int = 3
    names: list[str] | None = None
    networks: list[str] | None = None
    set_name: str | None = None
    scale: int | None = None
    crop: tuple[float, float, float] = (0.2, 0.28, 0.3)
    dpi: int = 300


def check_installed() -> None:
    """Raises :class:`UsageError` if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(f"the figure needs matplotlib: {install_extra('report')}") from error


def write(results: Results, folder: str | os.PathLike, out: str | os.PathLike, options: FigureOptions) -> None:
    """Draws the figure into a PNG, PDF or SVG file.

    Args:
        results: of a benchmark.
        folder: of that benchmark, with its cache.

    Raises:
        UsageError: an unknown set, scale, network or face, a crop outside of the image, or another kind of file.
    """
    out = Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o: {out} is not the name of a .png, .pdf or .svg file")
    left, top, side = options.crop
    if not (side > 0 and left >= 0 and top >= 0 and max(left, top) + side <= 1):
        raise UsageError(f"--crop: {left:g} {top:g} {side:g} reaches out of the image; left + side and top + side are at most 1")
    test_set = _chosen(results.sets, options.set_name)
    scale = options.scale or max(results.scales)
    if scale not in results.scales:
        raise UsageError(f"--scale: the benchmark has {named([f'x{s}' for s in results.scales])}, not x{scale}")
    names = [network.name for network in results.at(scale)]
    for name in options.networks or ():
        if name not in names:
            raise UsageError(f"--networks: the benchmark has no '{name}' at x{scale}{did_you_mean(name, names)}")
    keys = options.names or _typical(results, test_set, scale, options.faces)
    unknown = [key for key in keys if key not in test_set.keys]
    if unknown:
        raise UsageError(f"--names: {test_set.name} has no face {named(unknown)}{did_you_mean(unknown[0], test_set.keys)}")
    with Cache(folder) as cache:
        drawn = drawings.faces(results, cache, test_set, scale, keys)
    _draw(results, test_set, scale, drawn, options.networks or names, out, options)


def _chosen(sets: list[SetRecord], name: str | None) -> SetRecord:
    found = next((s for s in sets if name in (None, s.name)), None)
    if found is None:
        raise UsageError(f"--set: the benchmark has no set '{name}'{did_you_mean(str(name), [s.name for s in sets])}")
    return found


def _typical(results: Results, test_set: SetRecord, scale: int, count: int) -> list[str]:
    """Faces on which the last network is neither good nor bad: the middle fifth by the first column, spread evenly."""
    if not 1 <= count <= len(test_set.keys):
        raise UsageError(f"--faces: 1 to {len(test_set.keys)}, which is what {test_set.name} has, not {count}")
    values = results.values[test_set.name, scale, results.at(scale)[-1].name][:, 0]
    order = np.argsort(np.where(np.isnan(values), -np.inf, values), kind="stable")
    width = max(count, len(order) // 5)
    middle = np.sort(order[(len(order) - width) // 2 :][:width])
    return [test_set.keys[middle[i]] for i in np.linspace(0, len(middle) - 1, count).round().astype(int)]


def _draw(results, test_set: SetRecord, scale: int, drawn: list[DrawnFace], networks: list[str], out: Path, options) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = ["LR", *networks, TRUE]
    row = 2 * _COLUMN + _NOTE
    width, height = len(columns) * _COLUMN, len(drawn) * row + 0.25
    settings: dict[Any, Any] = {"font.size": 7, "pdf.fonttype": 42, "svg.fonttype": "none", "font.family": "sans-serif"}
    with plt.rc_context(settings):
        page = plt.figure(figsize=(width, height))
        for line, face in enumerate(drawn):
            for number, who in enumerate(columns):
                top = height - 0.25 - line * row
                if line == 0:
                    title = page.text(
                        (number + 0.5) * _COLUMN / width, (height - 0.12) / height, who, ha="center", va="center", fontsize=8
                    )
                    title.set_parse_math(False)  # a name may have two $
                _tile(page, face, who, (number * _COLUMN, top, width, height), options.crop)
                note = _numbers(results, test_set, scale, who, face.key, number)
                page.text(
                    (number + 0.5) * _COLUMN / width, (top - 2 * _COLUMN - 0.04) / height, note, ha="center", va="top", fontsize=6
                )
        _save(page, out, options.dpi)
        plt.close(page)


def _tile(page, face: DrawnFace, who: str, place: tuple[float, float, float, float], crop: tuple) -> None:
    """An image with its detail below. ``place``: left, top, and the page's width and height, in inches."""
    from matplotlib.patches import Rectangle

    image = {"LR": face.lr, TRUE: face.hr, **face.sr}[who]
    left, top, width, height = place
    side = image.shape[1]
    x, y, part = (value * side for value in crop)
    for below in (0, 1):
        gap = 0.02
        inch = _COLUMN - 2 * gap
        axes = page.add_axes([(left + gap) / width, (top - (below + 1) * _COLUMN + gap) / height, inch / width, inch / height])
        axes.imshow(image, interpolation="nearest", extent=(0, side, image.shape[0], 0))
        axes.set_xticks([])
        axes.set_yticks([])
        if below:
            axes.set_xlim(x, x + part)
            axes.set_ylim(y + part, y)
            for spine in axes.spines.values():
                spine.set_edgecolor(_BOX)
        else:
            axes.add_patch(Rectangle((x, y), part, part, fill=False, edgecolor=_BOX, linewidth=0.8))
            axes.spines[:].set_visible(False)


def _numbers(results: Results, test_set: SetRecord, scale: int, who: str, key: str, number: int) -> str:
    """PSNR / SSIM of the first protocol beneath a network's image; under LR what the numbers are."""
    chosen = [i for i, c in enumerate(results.columns) if c.protocol and c.protocol == results.columns[0].protocol] or [0]
    if number == 0:
        titles = " / ".join(results.columns[i].title for i in chosen)
        return f"{titles}\n{results.columns[chosen[0]].protocol or ''}".strip()
    if who == TRUE:
        return key if len(key) <= 18 else key[:17] + "…"
    values = results.values[test_set.name, scale, who][test_set.keys.index(key)]
    texts = [f"{values[i]:.{results.columns[i].decimals}f}" if math.isfinite(values[i]) else "–" for i in chosen]
    return " / ".join(texts)


def _save(page, out: Path, dpi: int) -> None:
    """Beside its target, then renamed. Without a date inside, so that the same figure is the same file."""
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with disk.replacing(out) as part:
        page.savefig(part, dpi=dpi, metadata=dates.get(out.suffix.lower()))
