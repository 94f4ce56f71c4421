"""Makes photos small, until the square that a network sees of the largest face is --face pixels wide: something for `wnet restore`.

python scripts/pictures/small_photos.py photos -o small --face 18 --count 8
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from wnet_arch.cli.common import run_script
from wnet_arch.errors import WNetError
from wnet_arch.faces.align import five_point_frame
from wnet_arch.faces.detection import choose
from wnet_arch.faces.detectors import DEFAULT, create_detector


def small(path: Path, detector, side: float) -> Image.Image | None:
    """The photo reduced, or ``None`` where no face is found, or one that is smaller already."""
    with Image.open(path) as file:
        photo = ImageOps.exif_transpose(file).convert("RGB")
    face = choose(detector.detect(np.array(photo)), "largest", photo.height, photo.width)
    if face is None:
        return None
    factor = side / five_point_frame(face.five).side
    size = round(photo.width * factor), round(photo.height * factor)
    return photo.resize(size, Image.Resampling.BICUBIC) if factor < 1 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="DIR")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--face", type=float, default=18, metavar="PX", help="width of the face's square (default: 18)")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="how many photos, the last by name (default: 8)")
    args = parser.parse_args()
    if not args.photos.is_dir():
        parser.error(f"there is no folder {args.photos}")
    try:
        detector = create_detector(DEFAULT)
    except WNetError as error:
        sys.exit(f"small_photos: {error}")
    args.out.mkdir(parents=True, exist_ok=True)
    made = 0
    for path in sorted(args.photos.glob("*"), reverse=True):
        try:
            photo = small(path, detector, args.face)
        except OSError:  # not a photo
            photo = None
        if photo is not None:
            photo.save(args.out / f"{path.stem}.png")
            made += 1
        if made == args.count:
            break
    if not made:
        sys.exit(f"small_photos: no photo in {args.photos} has a face that is wide enough")
    print(f"{args.out}: {made} photos with a face of {args.face:g} pixels")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
