"""Draws docs/pictures/restore_degraded.png: a face in three sizes and all degradations, enlarged plainly and by `wnet restore`.

    python scripts/pictures/draw_degraded.py --out docs/pictures/restore_degraded.png

The photo is the astronaut of scikit-image (Eileen Collins, NASA, public domain), reduced nine, five and three times, to faces of
18, 33 and 54 pixels, and then degraded as scripts/bench/check_degraded.py degrades group photos. Each goes through the network that
`auto` takes, which is printed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import astronaut

from wnet_arch import visuals
from wnet_arch.cli.common import run_script
from wnet_arch.data.photos import load_picture
from wnet_arch.restore import FaceRestorer, paste

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from check_degraded import VARIANTS

#: Left, top, right, bottom of the part that is shown.
PART = (128, 16, 320, 208)
REDUCED = (9, 5, 3)


def part(photo: np.ndarray) -> np.ndarray:
    left, top, right, bottom = PART
    return photo[top:bottom, left:right]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    original, restorer = astronaut(), FaceRestorer()
    columns, rows = [], {name: [] for name in VARIANTS}
    for times in REDUCED:
        side = len(original) // times
        whole = Image.fromarray(original[: side * times, : side * times])
        small, restorer.scale = np.array(whole.resize((side, side), Image.Resampling.BICUBIC)), times
        for name, change in VARIANTS.items():
            given = load_picture(change(small, np.random.default_rng(0)))
            photo = restorer.restore(given.rgb, given.tables)
            what = [f"a face of {face.side:.1f} pixels by {face.network}" for face in photo.restored]
            print(f"{times} times smaller, {name}: {', '.join(what) or 'nothing was restored'}")
            rows[name] += [part(paste.enlarge(given.rgb, times)), part(photo.image)]
        columns += [f"enlarged {times} times", "wnet restore"]
    pictures = [[*row, part(original)] for row in rows.values()]
    notes = [name.replace(", ", ",\n") for name in rows]
    visuals.save(visuals.sheet((*columns, "original"), pictures, notes, tile=PART[2] - PART[0]), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
