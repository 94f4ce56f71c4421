"""``wnet demo``: a page in the browser that restores the faces of a photo, for this machine only."""

from __future__ import annotations

import argparse

from wnet_arch.cli.common import add_old_name

EXAMPLES = """\
The details of a restored face are estimated, not recovered. Never use it to identify a person.

The page answers to 127.0.0.1 only, loads nothing from elsewhere and reports to nobody. Other web pages cannot use it. Uploads and
results lie in a folder of their own; they go when the page is closed, and at the end. You choose from
the qualities of wnet restore, the networks that ship, --weights, and plain enlargement.
From another machine: ssh -L 7860:127.0.0.1:7860 HOST, and open http://127.0.0.1:7860 there.

exit codes: 0 ended by Ctrl-C or SIGTERM, 2 wrong arguments, port taken, Gradio or weights missing

examples:
  wnet demo
  wnet demo --weights experiments/wnet_x8 experiments/wnet_x4 --weights other_x8.onnx --network Bicubic
  wnet demo --port 0 --no-open --max-mb 10 --max-pixels 12000000
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet demo``."""
    parser = subparsers.add_parser(
        "demo",
        help="a page in the browser that restores the faces of a photo",
        description="Serves a page on 127.0.0.1: drop a photo, see the faces found, compare before and after, download.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("--port", type=int, default=7860, metavar="N", help="0: any free one (default: 7860)")
    add("--open", action=argparse.BooleanOptionalAction, default=True, help="open the page in a browser (default), or not")
    add(
        "--network",
        metavar="NAME",
        help="chosen at first: a shipped one, or Bicubic (default: the first of --weights, or what each photo's quality asks for)",
    )
    add("--weights", nargs="+", action="append", default=[], metavar="FILE",
        help="your own, as for wnet restore: one for each scale; may be given several times, for several choices")  # fmt: skip
    add("--device", default="cpu", help="cpu, cuda or cuda:1 (default: cpu)")
    add("--weights-dir", dest="offline", metavar="DIR", help="folder with the detector's weights; download nothing")
    add("--max-mb", type=float, default=30, metavar="N", help="largest file (default: 30)")
    add("--max-pixels", type=int, default=24_000_000, metavar="N", help="most pixels of a photo (default: 24000000)")
    add("--max-total-mb", type=float, default=2000, metavar="N", help="most of all uploads and results together (default: 2000)")
    add_old_name(parser, "--offline", "--weights-dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs ``wnet demo`` until it is interrupted; returns the exit code."""
    from wnet_arch.cli.basicsr import load_plugins
    from wnet_arch.demo.limits import Limits
    from wnet_arch.demo.server import DemoOptions, serve

    load_plugins()
    limits = Limits(args.max_mb, args.max_pixels, args.max_total_mb)
    serve(DemoOptions(args.port, args.network, args.weights, args.device, args.offline, args.open, limits))
    return 0
