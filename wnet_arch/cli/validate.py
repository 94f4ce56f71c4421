"""``wnet validate``: checks option files without running them; prints the schema that they are checked against."""

from __future__ import annotations

import argparse
import sys

from wnet_arch.errors import WNetError

EXAMPLES = """examples:
  wnet validate wnet_x8
  wnet validate options/wnet_x8.yml
  wnet validate options/baselines/*.yml
  wnet validate options/wnet_x8.yml --force_yml train:total_iter=1000
  wnet validate --json-schema > options/schema.json
  wnet validate --describe > options/README.md
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet validate``."""
    parser = subparsers.add_parser("validate", help="check option files without running them", epilog=EXAMPLES)
    parser.add_argument("files", nargs="*", metavar="FILE", help="option files of `basicsr`, or names of `wnet options list`")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY:KEY=VALUE", help="as for `basicsr train`")
    parser.add_argument("--json-schema", action="store_true", help="print the JSON schema of option files, for editors")
    parser.add_argument("--describe", action="store_true", help="print a description of every key (Markdown)")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Runs ``wnet validate``; returns the exit code."""
    if args.json_schema or args.describe:
        from wnet_arch.options import description

        print(description.json_schema() if args.json_schema else description.markdown(), end="")
        return 0
    if not args.files:
        args.parser.error("name at least one option file, or --json-schema, or --describe")
    from wnet_arch.cli.basicsr import load_plugins

    plugins = ["wnet_arch", *load_plugins()]
    fine = [validate(file, args.force_yml, plugins) for file in args.files]
    return 0 if all(fine) else WRONG


#: Exit code: options are wrong.
WRONG = 2


def validate(file: str, changes: list[str], plugins: list[str]) -> bool:
    """Prints what is wrong with a file, one line each, on standard error; returns whether it is fine."""
    from wnet_arch import options

    try:
        opt = options.override(options.load(options.resolve(file)), changes)
        is_train = "train" in opt
        problems = options.list_everything(opt, is_train, plugins)
    except WNetError as error:
        problems = [str(error)]
    for problem in problems:
        print(problem if file in problem else f"{file}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{file}: fine")
    return not problems
