"""Restores group photos that were blurred, noisy or compressed, and tells what a face gains, and how many lose.

    python scripts/bench/check_degraded.py --faces celeba_val --out degraded
    python scripts/bench/check_degraded.py --faces celeba_val --out degraded_mine --weights experiments/wnet_lite_x4
    python scripts/bench/check_degraded.py --faces celeba_val --quality auto --sheet 10 --out degraded_auto

Photos are tiled from faces whose originals are known (`group_photos.py`), at sizes that the networks take, reduced, and then
degraded as a whole, so that JPEG's blocks lie anywhere in the faces. Measured: PSNR of R, G, B in the pixels that were pasted,
against the original, of the restored photo and of the same photo plainly enlarged. "Worse" are faces whose PSNR is below that of
plain enlargement. Intervals: 95 % of 2,000 bootstrap draws of whole photos. Prints a table, writes it to OUT/table.md and
OUT/faces.csv, and pictures of faces before, after and as they were: the --worst of all in OUT/worst.png, and --sheet of each
degradation and scale, drawn by lot, in OUT/sheet_*.png. `--quality auto` sees the quantisation tables of a JPEG, as in a file.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from check_restore import draw, examine_face
from group_photos import Placed, Scene, background, face_photo, photos_in, reduced
from PIL import Image
from tqdm import tqdm

from wnet_arch.cli.common import run_script
from wnet_arch.data.photos import load_picture
from wnet_arch.errors import WNetError
from wnet_arch.restore import FaceRestorer, paste


def jpeg(photo: np.ndarray, quality: int) -> bytes:
    """A file as Pillow writes it by default, with colours of half the resolution."""
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    return file.getvalue()


def png(photo: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG", compress_level=1)
    return file.getvalue()


def noisy(photo: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return (photo + rng.normal(0, sigma, photo.shape)).round().clip(0, 255).astype(np.uint8)


def lens(photo: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(photo, (0, 0), sigma)


#: dB of a photo that was not changed, from its original: at x1, clean.
SAME = 100
Rng = np.random.Generator
#: The files that reduced photos become. Lengths in its pixels, grey levels of 255.
VARIANTS: dict[str, Callable[[np.ndarray, Rng], bytes]] = {
    "clean": lambda photo, rng: png(photo),
    "JPEG 90": lambda photo, rng: jpeg(photo, 90),
    "JPEG 75": lambda photo, rng: jpeg(photo, 75),
    "JPEG 50": lambda photo, rng: jpeg(photo, 50),
    "noise 8": lambda photo, rng: png(noisy(photo, 8, rng)),
    "blur 0.8, noise 5, JPEG 75": lambda photo, rng: jpeg(noisy(lens(photo, 0.8), 5, rng), 75),
}
#: Sides of the faces' frames in the photo, for each scale.
SIDES = {8: (13.0, 20.0), 4: (21.0, 39.0), 2: (41.0, 79.0), 1: (81.0, 140.0)}
#: Of a photo of the smallest faces; those of larger ones are as many times larger.
SIZE = (400, 300)


@dataclass
class Measured:
    """A face: where it is from, and PSNR in dB, plainly enlarged and restored."""

    variant: str
    scale: int
    photo: int
    side: float
    plain: float
    restored: float
    picture: object

    @property
    def gain(self) -> float:
        return self.restored - self.plain


def tiled(files: list[Path], rng: Rng, scale: int, number: int) -> Scene:
    """Faces in rows, each on a place between the pixels of the photo."""
    low, high = SIDES[scale]
    truth = background(rng, *(side * max(scale, 4) for side in SIZE))
    placed, top, left, lowest = [], 4 * scale, 4 * scale, 0
    for index in rng.permutation(len(files)):
        face, frame = face_photo(files[index], float(np.exp(rng.uniform(np.log(low), np.log(high)))) * scale)
        if left + face.shape[1] > truth.shape[1] - 2 * scale:
            top, left = top + lowest + int(rng.integers(4, 8) * scale), int(rng.integers(2, 8) * scale)
            lowest = 0
        if top + face.shape[0] > truth.shape[0] - 2 * scale:
            break
        truth[top : top + face.shape[0], left : left + face.shape[1]] = face
        placed.append(Placed(*(value / scale for value in (left + frame[0], top + frame[1], frame[2]))))
        left += face.shape[1] + int(rng.integers(2 * scale, 5 * scale))
        lowest = max(lowest, face.shape[0])
    return reduced(f"x{scale}_{number}", truth, scale, placed)


def measure(restorer: FaceRestorer, scene: Scene, number: int, seed: int) -> Iterator[Measured]:
    """All variants of a photo. Faces of another network than that of the photo's scale are left out."""
    restorer.scale, clean = scene.scale, scene.photo
    for name, change in VARIANTS.items():
        given = load_picture(change(clean, np.random.default_rng((seed, number))))
        scene.photo = given.rgb
        photo = restorer.restore(given.rgb, given.tables)
        plain = paste.enlarge(scene.photo, scene.scale)
        for face in photo.cut_out:
            if face.scale == scene.scale:
                found = examine_face(face, scene, photo, plain)
                if np.isfinite(found.restored - found.bicubic):
                    yield Measured(name, scene.scale, number, found.side, found.bicubic, found.restored, found)
    scene.photo = clean


def interval(faces: list[Measured], draws: int = 2000) -> tuple[float, float]:
    """Of the mean gain: photos are drawn, not faces, since faces of one photo share what was done to it."""
    by_photo: dict[int, list[float]] = {}
    for face in faces:
        by_photo.setdefault(face.photo, []).append(face.gain)
    sums = np.array([(sum(gains), len(gains)) for gains in by_photo.values()])
    drawn = sums[np.random.default_rng(0).integers(0, len(sums), (draws, len(sums)))].sum(1)
    return tuple(np.percentile(drawn[:, 0] / drawn[:, 1], (2.5, 97.5)))


def table(faces: list[Measured]) -> str:
    lines = [
        "| photo | scale | faces | enlarged, dB | restored, dB | gain [95 %] | worse |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for scale in SIDES:
        for name in VARIANTS:
            own = [face for face in faces if (face.variant, face.scale) == (name, scale)]
            if own:
                gains, (low, high) = np.array([face.gain for face in own]), interval(own)
                plain, restored = (np.mean([getattr(face, what) for face in own]) for what in ("plain", "restored"))
                cells = f"{plain:.2f} | {restored:.2f} | {gains.mean():+.2f} [{low:+.2f}, {high:+.2f}] | {(gains < 0).mean():.1%}"
                if plain > SAME:
                    cells = f"the original | {restored:.2f} | nothing can be gained | –"
                lines.append(f"| {name} | x{scale} | {len(own)} | {cells} |")
    return "\n".join(lines) + "\n"


def sheets(faces: list[Measured], count: int, seed: int, out: Path) -> None:
    """Faces drawn by lot, not the best ones or the worst: a file for each degradation and scale."""
    rng = np.random.default_rng(seed)
    for scale in SIDES:
        for name in VARIANTS:
            own = [face for face in faces if (face.variant, face.scale) == (name, scale)]
            chosen = sorted(rng.permutation(len(own))[:count])
            if chosen:
                label = re.sub(r"[^a-z0-9.]+", "_", name.lower())
                draw([own[index].picture for index in chosen], out / f"sheet_x{scale}_{label}.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--faces", type=Path, required=True, help="folder of faces: CelebA's photos (178x218), or square face images")
    add("--groups", type=int, default=6, help="group photos of each scale (default: 6)")
    add("--scales", type=int, nargs="+", choices=SIDES, help="of the photos (default: those of the networks)")
    add("--weights", nargs="+", default=[], help="as `wnet restore` takes them")
    add("--network", help="a shipped network (default: those of --quality)")
    add("--quality", help="as `wnet restore` takes it")
    add("--worst", type=int, default=24, help="faces in the picture (default: 24)")
    add("--sheet", type=int, default=0, help="faces of each degradation and scale in pictures of their own (default: none)")
    add("--seed", type=int, default=0)
    add("--out", type=Path, required=True)
    args = parser.parse_args()
    restorer = FaceRestorer(args.network, weights=args.weights, quality=args.quality)
    files, rng = photos_in(args.faces), np.random.default_rng(args.seed)
    scales = args.scales or sorted({*restorer.networks, *restorer.real_networks}, reverse=True)
    scenes = [tiled(files, rng, scale, number) for scale in scales for number in range(args.groups)]
    args.out.mkdir(parents=True, exist_ok=True)
    faces = []
    for number, scene in enumerate(tqdm(scenes, unit="photo")):
        faces += measure(restorer, scene, number, args.seed)
        (args.out / f"{scene.name}.jpg").write_bytes(VARIANTS["JPEG 75"](scene.photo, rng))
    with open(args.out / "faces.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("variant", "scale", "photo", "side", "enlarged", "restored"))
        rows.writerows((f.variant, f.scale, f.photo, f"{f.side:.2f}", f"{f.plain:.4f}", f"{f.restored:.4f}") for f in faces)
    text = table(faces)
    (args.out / "table.md").write_text(text)
    (args.out / "command.txt").write_text(shlex.join(["python", "scripts/bench/check_degraded.py", *sys.argv[1:]]) + "\n")
    draw([face.picture for face in sorted(faces, key=lambda face: face.gain)[: args.worst]], args.out / "worst.png")
    if args.sheet:
        sheets(faces, args.sheet, args.seed, args.out)
    print(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run_script(main))
    except WNetError as error:
        sys.exit(f"check_degraded: error: {error}")
