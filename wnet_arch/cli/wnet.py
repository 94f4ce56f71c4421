"""The command ``wnet``: data, weights and everything around training. Each sub-command is a module beside this one."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from wnet_arch.cli.common import run_command

#: Modules with ``add_parser(subparsers)``, in the order of the help.
COMMANDS = ("prepare", "weights", "options", "validate", "profile", "sheet", "benchmark", "report", "restore", "export", "demo")


def build_parser() -> argparse.ArgumentParser:
    from wnet_arch import __version__

    parser = argparse.ArgumentParser(prog="wnet", description="W-Net face super-resolution: data, weights, measurements.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        importlib.import_module(f"wnet_arch.cli.{command}").add_parser(subparsers)
    return parser


def _main(argv: Sequence[str]) -> int:
    args = build_parser().parse_args([argument for argument in argv if argument != "--debug"])
    return args.run(args)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_command("wnet", _main))


if __name__ == "__main__":
    main()
