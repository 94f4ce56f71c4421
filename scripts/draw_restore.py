"""Draws docs/restore.png: what `wnet restore` makes of a small photo, beside plain enlargement and the original.

    python scripts/draw_restore.py --out docs/restore.png [--weights experiments/wnetlite_x8]

The photo is the astronaut of scikit-image (Eileen Collins, NASA, public domain), reduced eightfold to 64x64 pixels.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import astronaut

from wnet_arch import visuals

SCALE = 8
#: Left, top, right, bottom of the part that is shown.
PART = (96, 0, 352, 256)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=[], help="as `wnet restore` takes them (default: what ships)")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    original = Image.fromarray(astronaut())
    with tempfile.TemporaryDirectory() as folder:
        small = original.resize((original.width // SCALE, original.height // SCALE), Image.Resampling.BICUBIC)
        photo, out = Path(folder, "small.png"), Path(folder, "out")
        small.save(photo)
        command = [sys.executable, "-m", "wnet_arch.cli.wnet", "restore", photo, "-o", out, "--scale", SCALE]
        if subprocess.run([*map(str, command), *(["--weights", *args.weights] if args.weights else [])]).returncode:
            return 1
        restored = Image.open(out / photo.name).convert("RGB")
    plain = small.resize(restored.size, Image.Resampling.BICUBIC)
    tiny = small.crop([side // SCALE for side in PART])
    columns = ("64x64 pixels (part)", "enlarged plainly", "wnet restore", "original")
    row = [np.array(image) for image in (tiny, *(image.crop(PART) for image in (plain, restored, original)))]
    visuals.save(visuals.sheet(columns, [row], tile=256), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
