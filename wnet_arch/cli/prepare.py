"""``wnet prepare``: photos to one paired LMDB set."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from wnet_arch.cli.common import add_old_name
from wnet_arch.errors import UsageError
from wnet_arch.faces.detection import CHOICES
from wnet_arch.faces.detectors import DEFAULT, DETECTORS
from wnet_arch.faces.landmarks import LANDMARKERS
from wnet_arch.prepare import catalog
from wnet_arch.prepare.command import PrepareOptions, prepare
from wnet_arch.prepare.face_maker import CROPS, PARSERS
from wnet_arch.prepare.finalize import PrepareSummary
from wnet_arch.prepare.merge import merge
from wnet_arch.prepare.shards import Shard

_EXAMPLES = """crop rules:
  none            the whole photo, which must be square
  celeba-aligned  the square (12, 40, 164, 192) of CelebA's aligned 178x218 photos: the frame of CelebAMask-HQ
  landmarks       an upright square around the face: side = round(--margin * longer side of the box around the 68 landmarks),
                  centred on that box, moved inside the photo where it reaches over a border; the largest square of the
                  photo where it is larger than that, but no less than 1.2 times the longer side. Up to a tenth of it may
                  then be missing in the photo and repeats the border; photos that lack more are rejected
  five-point      the square that a turn, a scale and a shift bring nearest (least squares) to CelebA's mean eyes, nose and
                  mouth corners in the frame of celeba-aligned: (48.29, 60.87), (80.48, 60.92), (63.96, 79.52), (49.64, 94.88),
                  (79.15, 94.93) of 128. Of its area, a quarter may be missing and repeat the border. The points are the detector's
                  own; with dlib, which has none, they are taken from the 68

parsers (--parser):
  compact         our own network, 19 classes; ships with the package, needs no face detection
  landmarks       polygons through the 68 points: no hair, ears or neck, forehead unknown
  bisenet         facexlib's networks, 512x512: `wnet weights fetch parsing-bisenet` or parsing-parsenet, which need
  parsenet        the network once

detectors: mtcnn, retinaface, dlib (frontal faces). landmarkers: dlib, face-alignment. Needed for mtcnn and retinaface:
`wnet weights fetch mtcnn` or retinaface-resnet50; for dlib `pip install dlib-bin`, and for its landmarks
`wnet weights fetch landmarks68-dlib`; for face-alignment `pip install face-alignment` and
`wnet weights fetch landmarks68-fan`. `--crop five-point --parser compact` does without dlib.

landmark files (--landmarks-file): CSV with the columns name, x0, y0, ..., x67, y67 (or x4, y4), the first pixel is 0; a folder of
300-W's .pts, the first pixel is 1; CelebA's list_landmarks_align_celeba.txt (five points, for --crop five-point).

An interrupted run is continued by the same command.

examples:
  wnet prepare --images celebamask/images --labels celebamask/labels --out sets/celebamask --holdout 200
  wnet prepare --images img_align_celeba --crop celeba-aligned --parser compact --landmarks --out sets/celeba
  wnet prepare --images my_photos --crop landmarks --parser compact --sheet 24 --out sets/mine
  wnet prepare --images helen --landmarks-file helen.csv --crop landmarks --landmarks --out sets/helen
  wnet prepare celeba --root CelebA --mode I --parser compact --out sets/celeba
  wnet prepare --images my_photos --parser compact --shard 0/4 --out sets/mine     (and 1/4, 2/4, 3/4 on other machines)
  wnet prepare merge --out sets/mine
"""
_MERGE = """\
SHARD is a folder made with --shard (SET.shard-0-of-4), or the name SET they were made for. All shards of one set must be there,
made with the same options; the result is equal, file for file, to the set of a run without --shard. The shards stay.
"""


def add_parser(subparsers) -> None:
    """Adds the command to the sub-parsers of ``wnet``."""
    parser = _new_parser(
        subparsers,
        "prepare",
        help="make a training or test set from a folder of photos",
        description="Makes a face set from a folder of photos: HR images, their reductions and parsing maps, as LMDB. "
        "SOURCE is what the folder holds (default: folder).",
        epilog=_EXAMPLES,
    )
    _add_options(parser)
    parser.set_defaults(run=run)
    sources = parser.add_subparsers(metavar="SOURCE", dest="source", required=False)
    for name in catalog.NAMES:
        source = _new_parser(sources, name, help=catalog.title(name), description=catalog.describe(name))
        _add_options(source)
        if catalog.modes(name):
            source.add_argument("--mode", choices=catalog.modes(name), help="which photos, and how they are split: see above")
        if name != catalog.FOLDER:
            source.add_argument("--partial", action="store_true", help="go on although photos are missing or too many")
    joined = _new_parser(sources, "merge", help="join the shards of one set", description=_MERGE)
    joined.add_argument("shards", nargs="*", type=Path, metavar="SHARD", help="(default: those of --out)")
    joined.add_argument("--out", type=Path, metavar="SET", help="folder of the set; must not exist")
    joined.add_argument("--overwrite", action="store_true", help="replace SET if it is a set made by this command")
    joined.add_argument("--partial", action="store_true", help="leave out splits of which no photo could be used")
    joined.set_defaults(run=run_merge)


def _new_parser(subparsers, name: str, **texts) -> argparse.ArgumentParser:
    """Options that are not given leave no trace: defaults are those of :class:`PrepareOptions` and of the data set."""
    formatter = argparse.RawDescriptionHelpFormatter
    return subparsers.add_parser(name, formatter_class=formatter, argument_default=argparse.SUPPRESS, **texts)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--root", "--images", type=Path, dest="images", metavar="DIR", help="folder of the photos, or of the data set")
    add("--out", type=Path, metavar="SET", help="folder of the set; must not exist")
    add("--labels", type=Path, metavar="DIR", help="folder of label maps: STEM.png for each photo, pixel value = class")
    add("--parser", choices=PARSERS, help="make the label maps; without --labels and --parser they are all unknown")
    add("--landmarks", action="store_true", help="store the 68 landmarks of each face, for networks that train with them "
        "(DIC); a face where none are found stays in the set, unless crop or parser need them")  # fmt: skip
    add("--crop", choices=CROPS, help="see `wnet prepare --help` (default: none)")
    add("--size", type=int, metavar="N", help="side of the HR image (default: 128)")
    add("--scales", type=int, nargs="+", metavar="S", help="reductions to make (default: 4 8)")
    add("--holdout", type=int, metavar="N", help="last N photos go to SET/val, the others to SET/train")
    add("--workers", type=int, metavar="N", help="worker processes (default: one a processor for a thousand photos and more)")
    add("--detector", choices=DETECTORS, help=f"what finds faces (default: {DEFAULT})")
    add("--landmarker", choices=LANDMARKERS, help="what finds the 68 landmarks of a face (default: dlib)")
    add("--landmarks-file", type=Path, metavar="FILE", help="landmarks from a file or folder, instead of detection: see "
        "`wnet prepare --help`; photos that are not in it are rejected where crop or parser need them")  # fmt: skip
    add("--face", choices=CHOICES, help="of several faces, take the largest or the one nearest the centre (default: largest)")
    add("--surround", type=float, metavar="X", help="also store this share of its frame's side around each face, 0.2 say, for "
        "trainings on frames off their place (`datasets.train.jitter`); almost trebles the set")  # fmt: skip
    add("--sheet", type=int, metavar="N", help="draw N photos with points, crop and map to SET.sheet.png")
    add("--margin", type=float, metavar="X", help="of the crop rule landmarks (default: 1.8)")
    add("--min-box", type=int, metavar="N", help="smallest box around the landmarks, its longer side in pixels of the photo, where "
        "crop or parser use landmarks (default: 64)")  # fmt: skip
    add("--weights-dir", type=Path, dest="offline", metavar="DIR", help="folder with the weights; download nothing")
    add("--shard", metavar="I/N", help="work on one of N parts of the photos, I = 0 ... N-1 (N/N is 0/N); writes "
        "SET.shard-I-of-N, see `wnet prepare merge`. Processes started by torchrun take theirs (auto)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace SET if it is a set made by this command")
    add_old_name(parser, "--min-face", "--min-box")
    add_old_name(parser, "--offline", "--weights-dir")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    given = {field.name: getattr(args, field.name) for field in fields(PrepareOptions) if hasattr(args, field.name)}
    for name, flag in (("images", "--root DIR, the folder of the photos"), ("out", "--out SET, the folder of the set")):
        if name not in given:
            raise UsageError(f"wnet prepare needs {flag}")
    if "scales" in given:
        given["scales"] = tuple(given["scales"])
    given["source"] = given.get("source") or catalog.FOLDER
    given["shard"] = Shard.parse(given.get("shard"))
    options = PrepareOptions(**{**catalog.defaults(given["source"], given["images"], given), **given})
    if options.shard:
        print(f"shard {options.shard}: writes {options.target}", flush=True)
    _show(prepare(options))
    if options.shard:
        print(f"when all {options.shard.count} shards are there: wnet prepare merge --out {options.out}")
    return 0


def run_merge(args: argparse.Namespace) -> int:
    """Runs ``wnet prepare merge``."""
    if not hasattr(args, "out"):
        raise UsageError("wnet prepare merge needs --out SET, the folder of the set")
    flags = {name: getattr(args, name, False) for name in ("overwrite", "partial")}
    _show(merge(getattr(args, "shards", []) or [args.out], args.out, **flags))
    return 0


def _show(summary: PrepareSummary) -> None:
    for line in summary.lines():
        print(line)
