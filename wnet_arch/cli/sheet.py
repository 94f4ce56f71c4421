"""``wnet sheet``: a trained network beside bicubic enlargement on a validation set; without weights, what its training sees."""

from __future__ import annotations

import argparse
import os

from wnet_arch.words import counted

EXAMPLES = """examples:
  wnet sheet -opt options/wnet_x8_demo.yml --weights experiments/wnet_x8_demo/models/net_g_latest.pth -o sheet.png
  wnet sheet -opt wnet_lite_x4 --force_yml datasets:train:degradation={} -o samples.png   # LR faces of six epochs
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet sheet``."""
    parser = subparsers.add_parser(
        "sheet", help="compare a trained network with bicubic enlargement, or show what a training sees: a picture", epilog=EXAMPLES
    )
    parser.add_argument("-opt", required=True, metavar="FILE", help="the option file the network was trained with")
    parser.add_argument("--weights", metavar="FILE", help=".pth or .safetensors; without, the picture is of the data set")
    parser.add_argument("--dataset", help="which block of datasets (default: val, without --weights train)")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY:KEY=VALUE", help="as for `basicsr train`")
    parser.add_argument("-o", "--out", default="sheet.png", metavar="FILE", help="picture to write (default: sheet.png)")
    parser.add_argument("--faces", type=int, default=8, metavar="N", help="rows of the picture (default: 8)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs ``wnet sheet``; returns the exit code."""
    from wnet_arch import options, visuals
    from wnet_arch.cli.basicsr import load_plugins
    from wnet_arch.errors import UsageError
    from wnet_arch.inference import comparison

    if os.path.splitext(args.out)[1].lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--out: {args.out} is not the name of a .png, .jpg or .webp file")
    if args.faces < 1:
        raise UsageError(f"--faces {args.faces}: must be 1 or more")
    load_plugins()
    opt = options.override(options.load(options.resolve(args.opt)), args.force_yml)
    opt = options.check_schema(opt, "train" in opt)
    if not args.weights:
        from wnet_arch.data import samples_sheet

        visuals.save(samples_sheet.picture(opt, args.dataset or "train", args.faces), args.out)
        print(f"{args.out}: what is drawn of datasets.{args.dataset or 'train'} in the first epochs")
        return 0
    result = comparison.compare(opt, args.weights, args.dataset or "val")
    print(comparison.table(result))
    visuals.save(comparison.picture(result, args.faces), args.out)
    print(f"{args.out}: {counted(min(args.faces, len(result.faces)), 'face')}")
    return 0
