"""``wnet sheet``: a trained network beside bicubic enlargement on a validation set, as a table and a picture."""

from __future__ import annotations

import argparse
import os

EXAMPLES = """example:
  wnet sheet -opt options/wnet_x8_demo.yml --weights experiments/wnet_x8_demo/models/net_g_latest.pth -o sheet.png
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "sheet",
        help="compare a trained network with bicubic enlargement: a table and a picture",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-opt", required=True, metavar="FILE", help="the option file the network was trained with")
    parser.add_argument("--weights", required=True, metavar="FILE", help=".pth or .safetensors")
    parser.add_argument("--dataset", default="val", help="which block of datasets (default: val)")
    parser.add_argument("-o", "--out", default="sheet.png", metavar="FILE", help="picture to write (default: sheet.png)")
    parser.add_argument("--faces", type=int, default=8, metavar="N", help="rows of the picture (default: 8)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wnet_arch import comparison, options, visuals
    from wnet_arch.cli.basicsr import load_plugins
    from wnet_arch.errors import UsageError

    if os.path.splitext(args.out)[1].lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--out: {args.out} is not the name of a .png, .jpg or .webp file")
    load_plugins()
    opt = options.load(options.resolve(args.opt))
    result = comparison.compare(opt, args.weights, args.dataset)
    print(comparison.table(result))
    visuals.save(comparison.picture(result, args.faces), args.out)
    print(f"{args.out}: {min(args.faces, len(result.faces))} faces")
    return 0
