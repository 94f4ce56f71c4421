"""``wnet benchmark``: networks x test sets x scales x protocols, as tables, per-image values and a page to look at."""

from __future__ import annotations

import argparse
import shlex
import sys

from wnet_arch.words import counted

EXAMPLES = """networks, each [LABEL=]WHAT[@OPTIONS.yml]:
  Bicubic                                       needs nothing
  wnet_x8                                       a network that ships; wnet_lite is all its scales (`wnet weights list`)
  experiments/SPARNet_x8                        a training run: its models/net_g_latest.pth, its option file
  mine=runs/a/models/net_g_5000.pth             a weights file of a run; its option file lies in runs/a
  mine=net.safetensors@options/wnet_x8.yml      any weights file, with the option file that says how to build it
  EDSR=edsr.pth                                 LABEL is a network with its standard options
  other=net.onnx                                float32 (B, 3, h, w) RGB in [0, 1] to (B, 3, H, W)
  other=results/faces                           SR images made by any other program, named as the HR images
  'other=results/{set}/x{scale}/{name}_sr.png'  the same for several sets and scales, or with an ending
One label may stand for several entries of different scales.

sets, each [NAME=]FOLDER: a set of `wnet prepare` (of one with splits, SET/val), or a folder of HR faces.

examples:
  wnet benchmark --networks Bicubic experiments/SPARNet_x8 W-Net=experiments/wnet_x8 --sets datasets/celeba/val -o bench
  wnet benchmark --networks Bicubic other=sr/faces --sets hr/faces --scales 8 --protocols all --metrics all -o bench
  wnet report figure bench --faces 3 -o figure.pdf

Run it again with more networks, sets or metrics and the same -o: only what is missing is computed. A run that was killed continues.
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet benchmark``."""
    parser = subparsers.add_parser(
        "benchmark",
        help="compare networks on test sets: tables, per-image values, HTML report",
        description="Compares networks, SR images of other programs and ONNX files under named protocols.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("--networks", nargs="+", required=True, metavar="NETWORK", help="see below")
    add("--sets", nargs="+", required=True, metavar="SET", help="see below")
    add("-o", "--out", required=True, metavar="DIR", help="folder for tables, report and cache")
    add("--scales", nargs="+", type=int, metavar="S", help="4, 8 (default: those of the networks)")
    add(
        "--protocols",
        nargs="*",
        default=["dic"],
        metavar="P",
        help="of PSNR and SSIM: dic, dic-wrap, sparnet, rgb, all (default: dic)",
    )
    add("--metrics", nargs="*", default=["lpips"], metavar="M",
        help="lpips, landmarks, identity, parsing, all (default: lpips); `--metrics` alone: none")  # fmt: skip
    add("--downstream", action="store_true", help="add the paper's Table 2: landmarks and identity")
    add("--metric-option", nargs="+", default=[], metavar="METRIC.NAME=VALUE",
        help="e.g. identity.backend=adaface identity.weights=FILE, landmarks.box=gt")  # fmt: skip
    add("--baseline", metavar="LABEL", help="differences are to this network (default: the first)")
    add("--maps", nargs="+", default=[], choices=("zeros", "other", "true"), help="measure networks that estimate a parsing map "
        "also with an empty one, that of another face, the true one: what the map is worth to them")  # fmt: skip
    add("--paper", action="store_true", help="add the paper's numbers, in rows marked so; they are not comparable")
    add("--limit", type=int, metavar="N", help="only the first N faces of each set")
    add("--size", type=int, metavar="N", help="reduce HR faces to NxN first (Pillow's bicubic filter); networks are trained on 128")
    add("--workers", type=int, metavar="N", help="processes; numbers do not depend on it (default: one a processor)")
    add("--device", default="cpu", help="cpu, cuda or cuda:1 (default: cpu)")
    add("--batch", type=int, metavar="N", help="faces a network gets at once (default: 1 on the CPU, 16 on a GPU)")
    add(
        "--report-faces",
        type=int,
        default=48,
        metavar="N",
        help="faces in the report for each set and scale (default: 48; 0: no report)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs ``wnet benchmark``; returns the exit code."""
    from wnet_arch.benchmark import measures
    from wnet_arch.benchmark.command import BenchmarkOptions, benchmark
    from wnet_arch.cli.basicsr import load_plugins

    load_plugins()
    if args.report_faces:
        from wnet_arch.benchmark import report

        report.check_installed()
    options = {name: value for name, value in vars(args).items() if name not in ("run", "downstream", "metric_option", "debug")}
    options["metrics"] = [*args.metrics, *(measures.DOWNSTREAM if args.downstream else ())]
    options["metric_options"] = metric_options(args.metric_option)
    results, found = benchmark(BenchmarkOptions(**options), shlex.join(["wnet", *sys.argv[1:]]))
    if args.report_faces:
        report.write(results, args.out, args.report_faces)
    print(summary(results, found, args.out, bool(args.report_faces)))
    return 0


def metric_options(entries: list[str]) -> dict[str, dict]:
    """``["identity.backend=adaface"]`` to ``{"identity": {"backend": "adaface"}}``; values follow YAML's rules."""
    import yaml

    from wnet_arch.errors import UsageError

    found: dict[str, dict] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        metric, dot, option = name.partition(".")
        if not (equals and dot and option):
            raise UsageError(f"--metric-option: '{entry}' is not METRIC.NAME=VALUE")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            read = [value]
        if not isinstance(read, (str, int, float, bool, type(None))):
            raise UsageError(f"--metric-option: '{entry}': a text, a number, true or false is wanted (texts like this in quotes)")
        found.setdefault(metric, {})[option] = read
    return found


def summary(results, found, out: str, has_report: bool) -> str:
    """What the command prints: the means, where the files are, what it took."""
    from wnet_arch.benchmark import tables

    lines = []
    for test_set in results.sets:
        for scale in results.scales:
            lines.append(f"{test_set.name}, x{scale}, {counted(len(test_set.keys), 'face')}")
            columns = [c for c in results.columns if not c.key.startswith("parsing_iou_")]
            titles = [f"{c.title} {c.protocol}".strip() for c in columns]
            widths = [max(12, len(title) + 2) for title in titles]
            lines.append(f"{'':24}" + "".join(f"{title:>{width}}" for title, width in zip(titles, widths)))
            for network in results.at(scale):
                scores = [results.score(test_set.name, scale, network.name, c.id) for c in columns]
                cells = (tables.number(s.mean, max(c.decimals, 3)) + "*" * bool(s.missing) for s, c in zip(scores, columns))
                lines.append(f"{network.name[:23]:24}" + "".join(f"{text:>{width}}" for text, width in zip(cells, widths)))
    if any(score.missing for score in results.scores):
        lines.append("* without the faces that could not be measured; table.md counts them")
    lines += [f"note: {note}" for note in tables.outside_notes(results)]
    files = ["table.md", "results.csv", "results.json", "per_image.csv"] + ["report.html"] * has_report
    computed = f"{counted(found.computed, 'face')} x networks computed, {found.reused:,} taken from the cache, {found.wall:.0f} s"
    seconds = ", ".join(f"{what} {s:.0f} s" for what, s in found.seconds.items())
    lines.append(f"{computed} ({seconds})" if seconds else computed)
    return "\n".join([*lines, f"{out}: {', '.join(files)}"])
