"""Draws a network as a diagram (SVG): its blocks with sizes and parameters, and what feeds what, as one forward pass shows them.

    python scripts/pictures/draw_networks.py WNet -o docs/pictures/wnet_x8.svg
    python scripts/pictures/draw_networks.py WNet --network-option peak=1 -o docs/pictures/wnet_peak1_x8.svg
    python scripts/pictures/draw_networks.py WNetLite -o docs/pictures/wnet_lite_x8.svg

A column is a grid; time goes down. Nothing is placed by hand: network_record.py tells what is drawn, network_plan.py where.
"""

from __future__ import annotations

import argparse
import math
import sys
from html import escape
from pathlib import Path

import yaml
from network_plan import FLOW, HEAD, LINE, MAP, MARGIN, SKIP, Box, Diagram, shape_of, short, width_of
from network_record import Node, Record, record

from wnet_arch import disk
from wnet_arch.cli.common import run_script
from wnet_arch.errors import UsageError, WNetError

COLOURS = {FLOW: "#2f4858", MAP: "#c2620c", SKIP: "#7a5ea8"}
#: What a line of a box is filled with: what makes or takes the map, what changes the grid, other blocks, functions.
FILLS = {"map": "#fde8d0", "grid": "#dff0e0", "block": "#e2ecf6", "function": "#f6f6f4"}


def svg(found: Record) -> str:
    """The picture of a record; the same record is the same text."""
    plan = Diagram(found)
    options = ", ".join(f"{key}: {value}" for key, value in found.options.items())
    title = f"{found.name} x{found.scale}" + (f" ({options})" if options else "")
    width, height = math.ceil(plan.total), math.ceil(plan.height)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Arial, Helvetica, \'Liberation Sans\', sans-serif" font-size="12" fill="#1d2a33">',
        f"<title>{escape(title)}</title>",
        "<defs>",
        *(
            f'<marker id="{kind}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0.5L8 4L0 7.5Z" fill="{colour}"/></marker>'
            for kind, colour in COLOURS.items()
        ),
        "</defs>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(MARGIN, 24, f"{title}: {found.parameters:,} parameters", 16, "font-weight='bold'"),
    ]
    out += _legend(plan) + _columns(plan)
    ways = sorted(plan.edges, key=lambda edge: (SKIP, MAP, FLOW).index(edge.kind))
    out += [line for edge in ways for line in _way(plan.path(edge), edge.kind)]
    out += [line for box in plan.boxes for line in _box(plan, box)]
    return "\n".join([*out, "</svg>", ""])


def text(x: float, y: float, words: str, size: float = 12, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}"{" " + more if more else ""}>{escape(words)}</text>'.replace("'", '"')


def _legend(plan: Diagram) -> list[str]:
    out, x = [], float(MARGIN)
    kinds = {edge.kind for edge in plan.edges}
    named = {FLOW: "image, features", MAP: "estimated map", SKIP: "skip, added"}
    for kind, words in named.items():
        if kind in kinds:
            out += [*_way([(x, 44), (x + 26, 44)], kind), text(x + 32, 48, words, 11.5)]
            x += 46 + width_of(words, 11)
    y = 44.0
    if x + 400 > plan.total:
        x, y = float(MARGIN), 62.0
    for fill, words in {"map": "makes or takes the map", "grid": "changes the grid", "block": "other blocks"}.items():
        out += [f'<rect x="{x:g}" y="{y - 6:g}" width="14" height="12" fill="{FILLS[fill]}" stroke="#b9c2c9"/>']
        out += [text(x + 20, y + 4, words, 11.5)]
        x += 34 + width_of(words, 11)
    return out


def _columns(plan: Diagram) -> list[str]:
    """A band for each grid, with its size above."""
    out = []
    for number, (x, side) in enumerate(zip(plan.xs, plan.sides)):
        if number % 2 == 0:
            width, height = plan.width + 12, plan.height - HEAD + 12
            out.append(f'<rect x="{x - 6:g}" y="{HEAD - 22}" width="{width:g}" height="{height:g}" fill="#f7f8fa"/>')
        out.append(text(x + plan.width / 2, HEAD - 8, f"{side} × {side}", 11.5, 'text-anchor="middle" fill="#6b7780"'))
    return out


def _way(points: list[tuple[float, float]], kind: str) -> list[str]:
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    dashes = ' stroke-dasharray="5 3"' if kind == SKIP else ""
    return [f'<path d="{path}" fill="none" stroke="{COLOURS[kind]}" stroke-width="1.5"{dashes} marker-end="url(#{kind})"/>']


def _box(plan: Diagram, box: Box) -> list[str]:
    out = [
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{plan.width:g}" height="{box.height:g}" rx="3" fill="#ffffff" stroke="#8795a1"/>'
    ]
    for number, (node, words) in enumerate(box.lines):
        y = box.y + LINE * number
        fill = FILLS[role(node, plan.map, plan.branch)]
        out.append(f'<rect x="{box.x + 1:g}" y="{y + 1:g}" width="{plan.width - 2:g}" height="{LINE - 1}" fill="{fill}"/>')
        first = not number or box.lines[number - 1][0] is not node
        out.append(text(box.x + (5 if first else 12), y + 14.5, words, 12))
        if node.parameters and first:
            out.append(text(box.x + plan.width - 4, y + 14.5, short(node), 10.5, 'text-anchor="end" fill="#55626c"'))
    y = box.y + LINE * len(box.lines) + 12.5
    centre = box.x + plan.width / 2
    out.append(text(centre, y, shape_of(box.nodes[-1]), 11, 'text-anchor="middle"'))
    for name in box.nodes[-1].outputs:
        y += 16
        out.append(text(centre, y - 1, f"output {name}", 11, 'text-anchor="middle" font-weight="bold"'))
    return out


def role(node: Node, maps: set[Node], branch: set[Node]) -> str:
    """Which of :data:`FILLS` a node has."""
    if node in branch or not maps.isdisjoint(node.inputs):
        return "map"
    if node.kind != "block":
        return "function"
    return "grid" if any(shape[1:] != node.shape[1:] for shape in node.shapes) else "block"


def key_value(words: str) -> tuple[str, object]:
    key, equals, value = words.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{words}' is not KEY=VALUE")
    return key, yaml.safe_load(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="a registered name")
    parser.add_argument("--scale", type=int, default=8, help="4 or 8 (default: 8)")
    parser.add_argument("--network-option", nargs="+", type=key_value, default=[], metavar="KEY=VALUE", help="e.g. peak=1")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.svg")
    args = parser.parse_args()
    try:
        if args.out.suffix != ".svg":
            raise UsageError(f"-o: {args.out} is not the name of an .svg file")
        found = record(args.network, args.scale, **dict(args.network_option))
        disk.write_text(args.out, svg(found))
    except WNetError as error:
        print(f"draw_networks: {error}", file=sys.stderr)
        return error.exit_code
    blocks = sum(node.kind == "block" for node in found.nodes)
    print(f"{args.out}: {blocks} blocks, {found.parameters:,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
