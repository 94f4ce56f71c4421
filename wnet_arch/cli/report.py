"""``wnet report``: figures for print, and the HTML page anew, from the folder of ``wnet benchmark``."""

from __future__ import annotations

import argparse

EXAMPLES = """examples:
  wnet report figure bench --faces 3 -o figure.pdf
  wnet report figure bench --names 1164_163770 1188_170818 --networks Bicubic SPARNet W-Net -o figure.png
  wnet report html bench --report-faces 96
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet report`` and what it can do."""
    parser = subparsers.add_parser(
        "report",
        help="a print-ready comparison figure, or the HTML report, from a benchmark",
        description="Works on what `wnet benchmark` left in its folder; computes no network again.",
        epilog=EXAMPLES,
    )
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    figure = kinds.add_parser("figure", help="LR, networks and HR side by side, with enlarged details (PNG, PDF or SVG)")
    add = figure.add_argument
    add("folder", metavar="DIR", help="folder of the benchmark")
    add("-o", "--out", required=True, metavar="FILE", help=".png, .pdf or .svg")
    add("--faces", type=int, default=3, metavar="N", help="rows: faces near the median, spread over the set (default: 3)")
    add("--names", nargs="+", metavar="FACE", help="rows: these faces instead")
    add("--networks", nargs="+", metavar="LABEL", help="columns (default: all)")
    add("--set", metavar="NAME", help="test set (default: the first)")
    add("--scale", type=int, metavar="S", help="(default: the largest)")
    add("--crop", nargs=3, type=float, metavar=("X", "Y", "SIDE"), default=(0.2, 0.28, 0.3),
        help="the square that is enlarged, as parts of the image's sides: left, top, side (default: 0.2 0.28 0.3, the right eye "
        "of an aligned face)")  # fmt: skip
    add("--dpi", type=int, default=300, help="of a PNG (default: 300)")
    figure.set_defaults(run=run_figure)

    html = kinds.add_parser("html", help="write report.html and table.md again")
    html.add_argument("folder", metavar="DIR", help="folder of the benchmark")
    html.add_argument("--report-faces", type=int, default=48, metavar="N", help="faces of each set and scale (default: 48)")
    html.add_argument("--paper", action="store_true", help="add the paper's numbers to table.md, as a benchmark with --paper does")
    html.set_defaults(run=run_html)


def run_figure(args: argparse.Namespace) -> int:
    """Draws a figure from a benchmark's folder; returns the exit code."""
    from wnet_arch.benchmark import figure, results

    figure.check_installed()
    found = results.load(args.folder)
    options = figure.FigureOptions(args.faces, args.names, args.networks, args.set, args.scale, tuple(args.crop), args.dpi)
    figure.write(found, args.folder, args.out, options)
    print(args.out)
    return 0


def run_html(args: argparse.Namespace) -> int:
    """Writes a benchmark's page and table again; returns the exit code."""
    from pathlib import Path

    from wnet_arch import disk
    from wnet_arch.benchmark import report, results, tables
    from wnet_arch.errors import UsageError

    if args.report_faces < 1:
        raise UsageError(f"--report-faces: at least 1, not {args.report_faces}")
    found = results.load(args.folder)
    disk.write_text(Path(args.folder) / "table.md", tables.markdown(found, args.paper or bool(found.about.get("paper"))))
    print(report.write(found, args.folder, args.report_faces))
    return 0
