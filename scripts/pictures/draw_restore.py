"""Draws docs/pictures/restore.png: a small photo as `wnet restore` makes it in both qualities, plainly enlarged, and the original.

    python scripts/pictures/draw_restore.py --out docs/pictures/restore.png [--weights experiments/wnet_lite_x8]
    python scripts/pictures/draw_restore.py --jpeg 50 --out docs/pictures/restore_jpeg.png

The photo is the astronaut of scikit-image (Eileen Collins, NASA, public domain), reduced eightfold to 64x64 pixels. With --jpeg
QUALITY it is reduced fivefold, to a face of 32 pixels, and compressed: docs/pictures/restore_jpeg.png.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import astronaut

from wnet_arch import visuals
from wnet_arch.cli.common import run_script

#: Left, top, right, bottom of the part that is shown.
PART = (96, 0, 352, 256)


def restored(photo: Path, out: Path, scale: int, options: Sequence[str]) -> Image.Image:
    """The photo as `wnet restore` leaves it in a new folder."""
    command = [sys.executable, "-m", "wnet_arch.cli.wnet", "restore", photo, "-o", out, "--scale", scale, *options]
    if subprocess.run([*map(str, command)]).returncode:
        sys.exit(1)
    return Image.open(out / photo.name).convert("RGB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", help="as `wnet restore` takes them, instead of both that ship")
    parser.add_argument("--jpeg", type=int, metavar="QUALITY", help="compress the photo, reduced fivefold instead of eightfold")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    scale, choices = 8, {"wnet restore": [], "--quality sharp": ["--quality", "sharp"]}
    if args.jpeg:
        scale, choices = 5, {"--quality faithful": ["--quality", "faithful"], "wnet restore": []}
    if args.weights:
        choices = {"wnet restore": ["--weights", *args.weights]}
    original = Image.fromarray(astronaut())
    original = original.crop((0, 0, *(side // scale * scale for side in original.size)))
    small = original.resize((original.width // scale, original.height // scale), Image.Resampling.BICUBIC)
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "small.jpg" if args.jpeg else "small.png")
        small.save(photo, **({"quality": args.jpeg} if args.jpeg else {}))
        small = Image.open(photo).convert("RGB")
        images = {"enlarged plainly": small.resize(original.size, Image.Resampling.BICUBIC)}
        for number, (name, options) in enumerate(choices.items()):
            images[name] = restored(photo, Path(folder, f"out{number}"), scale, options)
    images["original"] = original
    tiny = small.crop([side // scale for side in PART])
    row = [np.array(image) for image in (tiny, *(image.crop(PART) for image in images.values()))]
    first = f"{small.width}x{small.height}{f', JPEG {args.jpeg}' if args.jpeg else ' pixels'} (part)"
    visuals.save(visuals.sheet((first, *images), [row], tile=256), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
