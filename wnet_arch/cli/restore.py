"""``wnet restore``: finds the faces of photos, super-resolves them, and pastes them back."""

from __future__ import annotations

import argparse
import sys

from wnet_arch.cli.common import add_old_name
from wnet_arch.errors import UsageError
from wnet_arch.words import counted

EXAMPLES = """\
The details of a restored face are estimated, not recovered. Never use it to identify a person.

Faces from about 12 pixels on are found (measured on the square that networks are trained on, about 1.5 times as wide as the face).
Those of up to 20 pixels go through the network for x8, up to 40 through that for x4, up to 80 through that for x2. Where the photo
has JPEG blocks or noise, those of up to 160 pixels go through one that keeps their size (x1). Larger ones are left alone. The photo
is enlarged by bicubic interpolation (not at all where nothing is restored, unless --scale is given), and what the network adds is
pasted through a soft mask from the face's parsing map. Outside of faces the result equals plain enlargement. Grey photos
stay grey, toned ones keep their tint. A photo that lies on its side is restored as it lies.

in OUT:
  NAME.jpg, NAME.png    the photo, upright, with its colour profile; JPEG stays JPEG, every other format becomes PNG
  faces/NAME_01.png     each restored face, 128x128
  sheets/NAME.png       with --sheet: each face before and after
  restored.jsonl        what was made from what; the same command continues where it was, and skips what is done
  report.json           with --json: the same for this run, and what failed

exit codes: 0 done, 1 a photo failed (the others are done), 2 wrong arguments, 3 no photo had a face, or with --face-only
none was small enough

examples:
  wnet restore group.jpg -o restored
  wnet restore photos more/party.png --recursive --sheet --json -o restored
  wnet restore photos --weights experiments/wnet_x8 experiments/wnet_x4 -o restored
  wnet restore aligned --face-only -o faces
  wnet restore group.jpg --network Bicubic -o plain
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet restore``."""
    parser = subparsers.add_parser(
        "restore",
        help="restore the faces of photos",
        description="Finds the faces of photos, super-resolves each with the network that fits its size, and pastes them back.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="photos, or folders of photos")
    add("-o", "--out", required=True, metavar="OUT", help="folder for the results")
    add("--quality", choices=("auto", "faithful", "real", "sharp"), help="faithful: as near to the true face as the networks come, "
        "in clean photos; real: for photos with JPEG blocks, noise or blur ; sharp: more detail, less certain (ships "
        "for x8); auto (default): real or faithful, by each photo's JPEG quality and noise")  # fmt: skip
    add("--network", metavar="NAME", help="instead, a shipped network by its name, or Bicubic")
    add("--weights", nargs="+", default=[], metavar="FILE",
        help="your own: runs, .pth, .safetensors or .onnx files, one for each scale, [LABEL=]WHAT[@OPTIONS.yml]")  # fmt: skip
    add("--scale", type=float, metavar="S", help="enlarge photos by this (default: the scale of the networks that were used)")
    add("--strength", type=float, default=1.0, metavar="X", help="0: plain enlargement ... 1: restored (default: 1)")
    add("--face-only", action="store_true", help="PATHs are aligned faces, square, of up to 80 pixels (real: 160): nothing is "
        "detected, and --scale, --detector, --min-face, --upright and --weights-dir do not apply")  # fmt: skip
    # The names as faces.detectors has them: importing them would take a second before any help.
    add("--detector", metavar="NAME", help="mtcnn, retinaface, dlib (default: mtcnn)")
    add("--min-face", type=float, metavar="N", dest="smallest",
        help="smallest face to look for, in pixels (default: 12; more in photos above 2 megapixels, to save time)")  # fmt: skip
    add("--upright", action="store_true", help="photos stand upright: search none turned (saves time where there are few faces)")
    add("--device", default="cpu", help="cpu, cuda or cuda:1 (default: cpu)")
    add("--batch", type=int, default=8, metavar="N", help="faces a network gets at once (default: 8)")
    add("--weights-dir", dest="offline", metavar="DIR", help="folder with the detector's weights; download nothing")
    add("--recursive", action="store_true", help="take the folders below as well")
    add("--sheet", action="store_true", help="write a sheet of the faces before and after")
    add("--json", action="store_true", help="write report.json")
    add("--overwrite", action="store_true", help="replace files in OUT that this command has not made")
    add_old_name(parser, "--offline", "--weights-dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs ``wnet restore``; returns the exit code."""
    from dataclasses import fields

    from wnet_arch.cli.basicsr import load_plugins
    from wnet_arch.restore.command import RestoreOptions, restore_photos

    load_plugins()
    if args.face_only:
        _refuse_what_does_nothing(args)
    options = RestoreOptions(**{one.name: getattr(args, one.name) for one in fields(RestoreOptions)})
    totals = restore_photos(options, lambda: _open_restorer(args))
    _summary(totals, args)
    return totals.exit_code


def _refuse_what_does_nothing(args: argparse.Namespace) -> None:
    given = {
        "--scale": args.scale, "--detector": args.detector, "--min-face": args.smallest, "--upright": args.upright,
        "--weights-dir": args.offline,
    }  # fmt: skip
    names = [name for name, value in given.items() if value]
    if names:
        raise UsageError(f"--face-only: the photos are faces already; leave out {' and '.join(names)}")


def _open_restorer(args: argparse.Namespace):
    from wnet_arch.faces.detectors import DEFAULT
    from wnet_arch.restore import FaceRestorer

    return FaceRestorer(
        args.network,
        args.device,
        weights=args.weights,
        detector=args.detector or DEFAULT,
        scale=args.scale,
        strength=args.strength,
        batch=args.batch,
        smallest=args.smallest,
        offline=args.offline,
        quality=args.quality,
        turns=not args.upright,
    )


def _summary(totals, args: argparse.Namespace) -> None:
    from wnet_arch.photo_formats import told
    from wnet_arch.restore import STATEMENT

    done = f", {totals.skipped:,} of them done before" if totals.skipped else ""
    print(f"{args.out}: {counted(totals.photos, 'photo')}{done}, {counted(totals.faces, 'face')}, {totals.restored:,} restored")
    if totals.restored:
        print(STATEMENT)
    if totals.passed:
        print(told(totals.passed))
    for source, reason in totals.failed:
        print(f"wnet: {source}: {reason}", file=sys.stderr)
    if totals.failed:
        print(f"wnet: {len(totals.failed)} of {totals.photos + len(totals.failed)} could not be restored", file=sys.stderr)
    elif not totals.with_faces:
        what = "no face is small enough" if args.face_only else "no face was found"
        print(f"wnet: {what}; nothing was restored", file=sys.stderr)
