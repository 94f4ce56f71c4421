"""Draws docs/restore.png: what `wnet restore` makes of a small photo in both qualities, beside plain enlargement and the original.

    python scripts/draw_restore.py --out docs/restore.png [--weights experiments/wnetlite_x8]

The photo is the astronaut of scikit-image (Eileen Collins, NASA, public domain), reduced eightfold to 64x64 pixels.
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

SCALE = 8
#: Left, top, right, bottom of the part that is shown.
PART = (96, 0, 352, 256)


def restored(photo: Path, out: Path, options: Sequence[str]) -> Image.Image:
    """The photo as `wnet restore` leaves it in a new folder."""
    command = [sys.executable, "-m", "wnet_arch.cli.wnet", "restore", photo, "-o", out, "--scale", SCALE, *options]
    if subprocess.run([*map(str, command)]).returncode:
        sys.exit(1)
    return Image.open(out / photo.name).convert("RGB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", help="as `wnet restore` takes them, in place of both that ship")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    choices = {"wnet restore": [], "--quality sharp": ["--quality", "sharp"]}
    if args.weights:
        choices = {"wnet restore": ["--weights", *args.weights]}
    original = Image.fromarray(astronaut())
    small = original.resize((original.width // SCALE, original.height // SCALE), Image.Resampling.BICUBIC)
    images = {"enlarged plainly": small.resize(original.size, Image.Resampling.BICUBIC)}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "small.png")
        small.save(photo)
        for number, (name, options) in enumerate(choices.items()):
            images[name] = restored(photo, Path(folder, f"out{number}"), options)
    images["original"] = original
    tiny = small.crop([side // SCALE for side in PART])
    row = [np.array(image) for image in (tiny, *(image.crop(PART) for image in images.values()))]
    visuals.save(visuals.sheet(("64x64 pixels (part)", *images), [row], tile=256), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
