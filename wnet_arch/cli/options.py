"""``wnet options``: lists, prints and copies the option files that come with the package."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

EXAMPLES = """examples:
  wnet options list
  wnet options show wnet_x8
  wnet options copy wnet_x8 -o mine.yml      # change it, then: wnet validate mine.yml; basicsr train -opt mine.yml
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet options`` and what it can do."""
    parser = subparsers.add_parser("options", help="option files of the package: list, show, copy", epilog=EXAMPLES)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("list", help="names, and what each is").set_defaults(run=list_files)
    show = actions.add_parser("show", help="print a file")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run=show_file)
    copy = actions.add_parser("copy", help="write a file, to be changed")
    copy.add_argument("name", metavar="NAME")
    copy.add_argument("-o", "--out", type=Path, metavar="FILE", help="(default: NAME.yml in this folder; must not exist)")
    copy.set_defaults(run=copy_file)


def list_files(args: argparse.Namespace) -> int:
    """Prints names and first lines of the option files in the package; returns the exit code."""
    from wnet_arch.options import packaged

    known = packaged.files()
    width = max(map(len, known))
    for name, file in known.items():
        print(f"{name:{width}}  {packaged.title(file)}")
    return 0


def show_file(args: argparse.Namespace) -> int:
    """Prints an option file of the package; returns the exit code."""
    print(_text(args.name), end="")
    return 0


def copy_file(args: argparse.Namespace) -> int:
    """Writes an option file of the package where it can be changed; returns the exit code."""
    from wnet_arch import disk
    from wnet_arch.errors import UsageError, WNetError

    text = _text(args.name)
    out = args.out or Path(os.path.basename(args.name).removesuffix(".yml") + ".yml")
    try:
        with open(out, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{out} exists already; name another file with -o") from error
    except OSError as error:
        reason = disk.reason(error, out)
        with contextlib.suppress(OSError):
            out.unlink()
        raise WNetError(f"cannot write {out}: {reason}") from error
    print(out)
    return 0


def _text(name: str) -> str:
    """A packaged file; its line for editors names the schema by its path, which holds wherever the copy lies."""
    from wnet_arch.options import packaged

    lines = packaged.find(name).read_text(encoding="utf-8").splitlines(keepends=True)
    if lines[0].startswith("# yaml-language-server:"):
        lines[0] = f"# yaml-language-server: $schema={packaged.FOLDER / 'schema.json'}\n"
    return "".join(lines)
