"""``wnet prepare``: photos to one paired LMDB set."""

from __future__ import annotations

import argparse
from pathlib import Path

from wnet_arch.data.face_maker import CROPS, PARSERS
from wnet_arch.data.prepare import PrepareOptions, prepare

_EXAMPLES = """crop rules:
  none            the whole photo, which must be square
  celeba-aligned  the square (12, 40, 164, 192) of CelebA's aligned 178x218 photos: the frame of CelebAMask-HQ
  landmarks       a square around the largest face: --margin times the longer side of the box around its 68 landmarks,
                  centred on that box, moved inside the photo where it reaches over a border. Up to a tenth of its side may
                  be missing in the photo and repeats the border; photos that lack more are rejected

Needed for landmarks: `pip install 'wnet-fsr[landmarks]'` and `wnet weights fetch landmarks68-dlib`.
An interrupted run is continued by the same command.

examples:
  wnet prepare --images celebamask/images --labels celebamask/labels --out sets/celebamask --holdout 200
  wnet prepare --images img_align_celeba --crop celeba-aligned --parser landmarks --landmarks --out sets/celeba
  wnet prepare --images my_photos --crop landmarks --parser landmarks --out sets/mine
"""


def add_parser(subparsers) -> None:
    """Adds the command to the sub-parsers of ``wnet``."""
    parser = subparsers.add_parser(
        "prepare",
        help="make a training or test set from a folder of photos",
        description="Makes a face set from a folder of photos: HR images, their reductions and parsing maps, as LMDB.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR", help="folder of photos")
    add("--out", type=Path, required=True, metavar="SET", help="folder of the set; must not exist")
    add("--labels", type=Path, metavar="DIR", help="folder of label maps: STEM.png for each photo, pixel value = class")
    add("--parser", choices=PARSERS, help="make the label maps; without --labels and --parser they are all unknown")
    add("--landmarks", action="store_true", help="store the 68 landmarks of each face, for networks that train with them "
        "(DIC); a face where none are found stays in the set, unless crop or parser need them")  # fmt: skip
    add("--crop", choices=CROPS, default="none", help="see below (default: %(default)s)")
    add("--size", type=int, default=128, metavar="N", help="side of the HR image (default: %(default)s)")
    add("--scales", type=int, nargs="+", default=(4, 8), metavar="S", help="reductions to make (default: 4 8)")
    add("--holdout", type=int, default=0, metavar="N", help="last N photos go to SET/val, the others to SET/train")
    add("--workers", type=int, metavar="N", help="worker processes (default: one a processor for a thousand photos and more)")
    add("--margin", type=float, default=1.8, metavar="X", help="of the crop rule landmarks (default: %(default)s)")
    add("--min-face", type=int, default=64, metavar="N", help="smallest face in pixels of the photo, measured on the "
        "landmarks' box, where crop or parser use landmarks (default: %(default)s)")  # fmt: skip
    add("--offline", type=Path, metavar="DIR", help="folder with the landmark file; download nothing")
    add("--overwrite", action="store_true", help="replace SET if it is a set made by this command")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    names = ("images", "out", "labels", "parser", "landmarks", "crop", "size", "holdout", "workers", "margin", "min_face")
    options = PrepareOptions(
        **{name: getattr(args, name) for name in names},
        scales=tuple(args.scales),
        overwrite=args.overwrite,
        offline=args.offline,
    )
    for line in prepare(options).lines():
        print(line)
    return 0
