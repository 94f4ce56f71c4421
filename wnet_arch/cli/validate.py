"""``wnet validate``: checks an option file without running it."""

from __future__ import annotations

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "validate",
        help="check option files without running them",
        epilog="example: wnet validate options/wnet_x8.yml",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="option files of `basicsr train` or `basicsr test`")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY:KEY=VALUE", help="as for `basicsr train`")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wnet_arch import options
    from wnet_arch.cli.basicsr import load_plugins

    plugins = ["wnet_arch", *load_plugins()]
    for file in args.files:
        opt = options.override(options.load(file), args.force_yml)
        options.check(opt, is_train="train" in opt, plugins=plugins)
        print(f"{file}: fine")
    return 0
