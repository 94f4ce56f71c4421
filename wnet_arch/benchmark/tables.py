"""``table.md``: the results in the layout of the paper's Tables 1, 2 and 3, with all that a number needs beside it."""

from __future__ import annotations

import math

from wnet_arch.benchmark import paper_numbers as paper
from wnet_arch.benchmark import stats
from wnet_arch.benchmark.measures import Column
from wnet_arch.benchmark.results import NetworkRecord, Results, Score, SetRecord
from wnet_arch.words import counted

ARROWS = {"higher": "↑", "lower": "↓"}


def markdown(results: Results, with_paper: bool = False) -> str:
    """The whole file. ``with_paper`` adds the paper's numbers in rows marked so."""
    parts = ["# Benchmark", _legend(results), "## Networks", _networks(results), "## Image quality (layout of Table 1)"]
    for protocol in dict.fromkeys(column.protocol for column in results.columns if column.protocol) or [""]:
        columns = [c for c in results.columns if c.protocol == protocol or c.key == "lpips"]
        if columns:
            parts += [f"### Protocol `{protocol}`" if protocol else "### Without protocol", _notes(columns)]
            parts.append(_table_1(results, columns, with_paper))
    downstream = [c for c in results.columns if not c.protocol and c.key != "lpips"]
    if downstream:
        parts += ["## Downstream tasks (layout of Table 2)", _notes(downstream), _table_2(results, downstream, with_paper)]
    ablation = _table_3(results, with_paper)
    if ablation:
        parts += ["## Modules of W-Net (layout of Table 3)", ablation]
    parts += ["## Paired differences to " + _plain(results.baseline), _differences(results)]
    if with_paper:
        parts += ["## About the paper's rows", paper.CAVEAT]
    return "\n\n".join(parts) + "\n"


#: Side of the HR faces that networks are trained on, and that their cost is counted for.
TRAINED_SIDE = 128


def is_outside(results: Results, test_set: SetRecord) -> bool:
    """Whether a set's faces have another size than those that one of the networks was trained on."""
    is_trained = any(n.kind != "folder" and n.block.get("type") != "Bicubic" for n in results.networks)
    return is_trained and tuple(test_set.size) != (TRAINED_SIDE, TRAINED_SIDE)


def outside_notes(results: Results) -> list[str]:
    """A sentence for each set of such faces, with what to do."""
    trained, notes = f"{TRAINED_SIDE}x{TRAINED_SIDE}", []
    for s in results.sets:
        if is_outside(results, s):
            height, width = s.size
            can = height == width > TRAINED_SIDE
            advice = (
                f"--size {TRAINED_SIDE} reduces them first" if can else f"`wnet prepare --size {TRAINED_SIDE}` makes such a set"
            )
            notes.append(
                f"{s.name}: its faces are {width}x{height}, outside of what the networks were trained on ({trained}), and GMACs "
                f"are of one {trained} face; {advice}"
            )
    return notes


def set_title(results: Results, test_set: SetRecord) -> str:
    """A set's name in a table, with its size where that is not the trained one."""
    size = f" ({test_set.size[1]}x{test_set.size[0]}, untrained size)" if is_outside(results, test_set) else ""
    return _plain(test_set.name) + size


def _legend(results: Results) -> str:
    warnings = "".join(f"\n\n**Note.** {_plain(note)}." for note in outside_notes(results))
    each = (f"{_plain(s.name)}: {counted(len(s.keys), 'face')}, {s.size[1]}x{s.size[0]}, LR {s.lq_note}" for s in results.sets)
    sets = "; ".join(each)
    return (
        f"{sets}.{warnings}\n\nMean ± half of the 95 % interval. **Best** and <u>second best</u> are marked only where the "
        f"difference to the next is significant. `(n ✗)`: n faces could not be measured; they are not in the mean. {stats.METHOD}"
    )


def _networks(results: Results) -> str:
    rows = []
    for n in results.networks:
        size = "–" if n.parameters is None else f"{n.parameters:,}"
        cost = "–" if n.macs is None else f"{n.macs / 1e9:.2f}"
        rows.append([_plain(n.name), f"x{n.scale}", n.kind, *map(_plain, n.origin), size, cost])
    return table(["network", "scale", "kind", "training set", "iterations", "seed", "parameters", "GMACs"], rows)


def table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table; all but the first ``left`` columns are aligned to the right."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def _plain(text: str) -> str:
    """Text in a cell: no character of it is Markdown or HTML."""
    for character in "\\|*<>`[]":
        text = text.replace(character, f"&#{ord(character)};")
    return " ".join(text.split())


def _notes(columns: list[Column]) -> str:
    return "; ".join(f"{titles}: {_plain(backbone)}" for titles, backbone in backbones(columns)) + "."


def backbones(columns: list[Column]) -> list[tuple[str, str]]:
    """What metrics rest on: titles of columns and the backbone that they share. Parts of the parsing IoU go with the whole."""
    found: dict[str, list[str]] = {}
    for c in columns:
        if not c.key.startswith("parsing_iou_"):
            found.setdefault(c.backbone, []).append(f"{c.title} ({c.protocol})" if c.protocol else c.title)
    return [(", ".join(titles), backbone) for backbone, titles in found.items()]


def heading(column: Column) -> str:
    """A column's title with its unit, and an arrow to where it is better."""
    unit = f", {column.unit}" if column.unit else ""
    return f"{column.title}{unit} {ARROWS[column.better]}"


def number(value: float, decimals: int) -> str:
    """``–`` for what could not be measured at all, ``∞`` for the PSNR of identical images."""
    if math.isnan(value):
        return "–"
    return "-∞" if value == -math.inf else "∞" if value == math.inf else f"{value:.{decimals}f}"


def cell(score: Score | None, column: Column) -> str:
    """Mean, half interval, mark, and how many faces are not in it."""
    if score is None or score.measured == 0:
        return "–"
    text = number(score.mean, column.decimals)
    text = {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(score.mark, text)
    if math.isfinite(score.high - score.low):
        text += f" ±{(score.high - score.low) / 2:.{column.decimals}f}"
    return f"{text} ({score.missing} ✗)" if score.missing else text


def _names(results: Results) -> list[str]:
    return list(dict.fromkeys(network.name for network in results.networks))


def _table_1(results: Results, columns: list[Column], with_paper: bool) -> str:
    """Networks down, set (scale) x metric across."""
    places = [(s.name, scale) for s in results.sets for scale in results.scales]
    titles = {s.name: set_title(results, s) for s in results.sets}
    header = ["network", *(f"{titles[name]} (x{scale}) {heading(c)}" for name, scale in places for c in columns)]
    rows = []
    for name in _names(results):
        rows.append([_plain(name), *(cell(results.score(*place, name, c.id), c) for place in places for c in columns)])
    if with_paper:
        rows += _paper_rows_1(places, columns)
    return table(header, rows)


def _paper_rows_1(places: list[tuple[str, int]], columns: list[Column]) -> list[list[str]]:
    keys = ("psnr", "ssim", "lpips")
    rows = []
    for (name, mode), triples in paper.TABLE_1.items():
        row = [f"*{name}, paper{', mode ' + mode if mode else ''}*"]
        for place in places:
            where = paper_set(place[0])
            found = dict(zip(paper.TABLE_1_PLACES, triples)).get((where, place[1])) if where else None
            values = dict(zip(keys, found or ()))
            row += [f"*{number(values[c.key], c.decimals)}*" if c.key in values else "–" for c in columns]
        if set(row[1:]) != {"–"}:
            rows.append(row)
    return rows


def paper_set(name: str) -> str | None:
    """Which set of the paper a test set is called after: ``celeba_val`` after CelebA, ``helen_test`` after Helen."""
    return next((known for known in ("CelebA", "Helen") if name.lower().startswith(known.lower())), None)


def _table_2(results: Results, columns: list[Column], with_paper: bool) -> str:
    """Set x scale x metric down, networks across."""
    names = _names(results)
    rows = []
    for test_set in results.sets:
        for scale in results.scales:
            for c in columns:
                cells = [cell(results.score(test_set.name, scale, name, c.id), c) for name in names]
                rows.append([set_title(results, test_set), f"x{scale}", heading(c), *cells])
    text = table(["set", "scale", "metric", *map(_plain, names)], rows, left=3)
    if with_paper:
        text += "\n\nPaper, mode II (68 points of OpenFace; AdaFace):\n\n" + _paper_table_2()
    return text


def _paper_table_2() -> str:
    rows = []
    for (name, scale), (distances, cosines) in paper.TABLE_2.items():
        rows.append([f"*{name}, paper*", f"x{scale}", "Euclidean distance ↓", *(f"*{v:.2f}*" for v in distances)])
        rows.append([f"*{name}, paper*", f"x{scale}", "Cosine similarity ↑", *(f"*{v:.4f}*" for v in cosines)])
    return table(["set", "scale", "metric", *paper.TABLE_2_NETWORKS], rows, left=3)


def _modules(network: NetworkRecord) -> tuple[bool, bool, bool] | None:
    """Parsing block, LPF, SCAB of a W-Net; ``None`` for others."""
    if network.block.get("type") != "WNet":
        return None
    block, lpf, scab = (bool(network.block.get(key, True)) for key in ("parsing_block", "lpf", "scab"))
    return block, lpf, scab


def _table_3(results: Results, with_paper: bool) -> str:
    """Only where W-Nets with different modules were compared."""
    nets = [(network, found) for network in results.networks if (found := _modules(network))]
    if len({found for _, found in nets}) < 2:
        return ""
    columns = [c for c in results.columns if c.protocol]
    header = ["set", "scale", "network", "Parsing Block", "LPF", "SCAB"]
    rows = []
    for test_set in results.sets:
        for n, found in nets:
            ticks = ["✓" if on else "" for on in found]
            cells = [cell(results.score(test_set.name, n.scale, n.name, c.id), c) for c in columns]
            rows.append([set_title(results, test_set), f"x{n.scale}", _plain(n.name), *ticks, *cells])
    text = table([*header, *(f"{c.protocol} {heading(c)}" for c in columns)], rows, left=6)
    if with_paper:
        lines = [
            [f"*Exp.{name}, paper*", *("✓" if on else "" for on in modules), f"*{psnr:.2f}*", f"*{ssim:.4f}*"]
            for name, (modules, (psnr, ssim)) in paper.TABLE_3.items()
        ]
        text += "\n\nPaper, CelebA x4, mode II:\n\n" + table([*header[2:], "PSNR ↑", "SSIM ↑"], lines, left=4)
    return text


def _differences(results: Results) -> str:
    rows = []
    columns = {c.id: c for c in results.columns}
    for s in results.scores:
        if s.difference is None:
            continue
        c, d = columns[s.column], s.difference
        name = f"{c.title} {c.protocol}".strip()
        ends = f"[{number(d['low'], c.decimals)}, {number(d['high'], c.decimals)}]"
        p = "<0.0001" if d["p"] < 1e-4 else f"{d['p']:.4f}"
        verdict = _verdict(d, c.better)
        rows.append([_plain(s.set), f"x{s.scale}", _plain(s.network), name, number(d["mean"], c.decimals), ends, p, verdict])
    if not rows:
        return "Nothing to compare with."
    header = ["set", "scale", "network", "metric", "difference", "95 % interval", "p (Holm)", ""]
    return table(header, rows, left=4)


def _verdict(difference: dict, better: str) -> str:
    if not difference["significant"]:
        return "not significant"
    return "better" if (difference["mean"] > 0) == (better == "higher") else "worse"
