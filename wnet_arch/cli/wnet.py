"""The command ``wnet``: data, weights and everything around training. Each sub-command is a module beside this one."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from wnet_arch.cli.common import Command, run_command

#: Modules with ``add_parser(subparsers)``, in the order of the help.
COMMANDS = ("prepare", "weights", "options", "validate", "profile", "sheet", "benchmark", "report", "restore", "export", "demo")


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser with some of the commands; each brings what it needs, PyTorch for one, so only those are imported."""
    from wnet_arch.version import __version__

    parser = argparse.ArgumentParser(prog="wnet", description="W-Net face super-resolution: data, weights, measurements.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Command)
    for command in commands:
        importlib.import_module(f"wnet_arch.cli.{command}").add_parser(subparsers)
    return parser


def _main(argv: Sequence[str]) -> int:
    words = [argument for argument in argv if argument != "--debug"]
    args = build_parser(_needed(words)).parse_args(words)
    return args.run(args)


def _needed(words: Sequence[str]) -> Sequence[str]:
    """The commands that these words can mean: the one that is named first; none for the version; all for a help or a mistake."""
    if words[:1] == ["--version"]:
        return ()
    return [command for command in COMMANDS if words[:1] == [command]] or COMMANDS


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_command("wnet", _main))


if __name__ == "__main__":
    main()
