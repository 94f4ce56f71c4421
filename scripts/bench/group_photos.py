"""Photos of which it is known where each face is, and what it looked like before the photo was reduced.

    python scripts/bench/group_photos.py --faces celeba_val --count 1000 --out many   # a folder of small photos, one face in each
    python scripts/bench/group_photos.py --faces celeba_val --crowd 300 --out crowd   # one photo of many faces

Faces are photos of CelebA as they are published (178x218, aligned), or square face images. `check_restore.py` uses this.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wnet_arch.faces import crop
from wnet_arch.photo_formats import scan

#: Of a group photo before it is reduced; what is made of one is this times its scale.
SIZE = (480, 360)
#: Sides of the faces' frames in a group photo, and how many of each.
BANDS = ((12, 16, 3), (16, 20, 4), (20, 40, 5), (40, 200, 2))


@dataclass(frozen=True)
class Placed:
    """The frame of a face: a square, in pixels of the reduced photo; pixel edges at whole numbers."""

    left: float
    top: float
    side: float


@dataclass
class Scene:
    """``photo`` is ``truth`` reduced by ``scale``, both uint8 (H, W, 3), and upright after ``quarters`` turns counter-clockwise."""

    name: str
    truth: np.ndarray
    photo: np.ndarray
    scale: int
    placed: list[Placed]
    quarters: int = 0

    @property
    def upright(self) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(self.photo, self.quarters))


def turned(scene: Scene, quarters: int) -> Scene:
    """An upright scene, turned clockwise by so many quarters."""
    placed = scene.placed
    for turn in range(quarters):
        height = scene.photo.shape[turn % 2]
        placed = [Placed(height - face.top - face.side, face.left, face.side) for face in placed]
    truth, photo = (np.ascontiguousarray(np.rot90(image, -quarters)) for image in (scene.truth, scene.photo))
    return Scene(scene.name, truth, photo, scene.scale, placed, quarters)


def reduced(name: str, truth: np.ndarray, scale: int, placed: Sequence[Placed] = ()) -> Scene:
    """A photo, cut to a multiple of the scale, and its reduction by Pillow's bicubic filter."""
    height, width = (side // scale for side in truth.shape[:2])
    truth = np.ascontiguousarray(truth[: height * scale, : width * scale])
    return Scene(
        name, truth, np.array(Image.fromarray(truth).resize((width, height), Image.Resampling.BICUBIC)), scale, list(placed)
    )


def group_photo(name: str, files: Sequence[Path], rng: np.random.Generator, scale: int) -> Scene:
    """Faces of all sizes of :data:`BANDS` side by side, as many as there is room for, at any place between the pixels."""
    sides = [side for low, high, count in BANDS for side in np.exp(rng.uniform(np.log(low), np.log(high), count))]
    truth = background(rng, SIZE[0] * scale, SIZE[1] * scale)
    taken = np.zeros(truth.shape[:2], bool)
    placed = []
    for side, number in zip(sorted(sides, reverse=True), rng.permutation(len(files))):
        face, frame = face_photo(files[number], side * scale)
        corner = _free_place(taken, face.shape[:2], 3 * scale, rng)
        if corner is None:
            continue
        top, left = corner
        truth[top : top + face.shape[0], left : left + face.shape[1]] = face
        taken[top : top + face.shape[0], left : left + face.shape[1]] = True
        placed.append(Placed(*(value / scale for value in (left + frame[0], top + frame[1], frame[2]))))
    return reduced(name, truth, scale, placed)


def face_photo(path: Path, side: float) -> tuple[np.ndarray, tuple[float, float, float]]:
    """The photo of a face, resized until its frame has this side; left, top and side of the frame in it."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    whole = crop.Box(0, 0, *image.size)
    box = crop.CELEBA_ALIGNED if image.size == crop.CELEBA_ALIGNED_SIZE else whole
    if image.width != image.height and box is whole:
        raise SystemExit(f"{path}: a face is a photo of CelebA (178x218) or square, this is {image.width}x{image.height}")
    width, height = (max(1, round(length * side / box.side)) for length in image.size)
    factor = width / image.width, height / image.height
    resized = np.array(image.resize((width, height), Image.Resampling.BICUBIC))
    return resized, (box.left * factor[0], box.top * factor[1], box.side * factor[0])


def background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Plain, a gradient, soft clouds, or a fine texture; uint8 (height, width, 3)."""
    kind, colours = rng.integers(4), rng.uniform(30, 226, (2, 3))
    share = np.zeros((height, width), np.float32)
    if kind == 1:
        share = np.add.outer(np.linspace(0, 0.5, height, dtype=np.float32), np.linspace(0, 0.5, width, dtype=np.float32))
    elif kind >= 2:
        coarse = rng.uniform(0, 1, (6, 8) if kind == 2 else (height // 12, width // 12)).astype(np.float32)
        share = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * (1 if kind == 2 else 0.4)
    share = share.clip(0, 1)[..., None]
    return ((1 - share) * colours[0].astype(np.float32) + share * colours[1].astype(np.float32)).astype(np.uint8)


def crowd(files: Sequence[Path], rng: np.random.Generator, count: int, side: float) -> np.ndarray:
    """Faces of one size in rows."""
    columns = int(np.ceil(count**0.5 * 1.3))
    tiles = [face_photo(files[i % len(files)], side)[0] for i in range(count)]
    height, width = (max(tile.shape[axis] for tile in tiles) + 4 for axis in (0, 1))
    photo = background(rng, columns * width + 4, -(-count // columns) * height + 4)
    for number, tile in enumerate(tiles):
        top, left = 4 + number // columns * height, 4 + number % columns * width
        photo[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return photo


def photos_in(folder: Path) -> list[Path]:
    """The pictures of a folder. Ends the program where there are none."""
    files = sorted(folder / name for name in scan(folder))
    if not files:
        raise SystemExit(f"there are no pictures in {folder}")
    return files


def _free_place(taken: np.ndarray, size: tuple[int, int], margin: int, rng: np.random.Generator) -> tuple[int, int] | None:
    room = taken.shape[0] - size[0] - 2 * margin, taken.shape[1] - size[1] - 2 * margin
    if min(room) <= 0:
        return None
    for _ in range(200):
        top, left = (int(rng.integers(margin, margin + length)) for length in room)
        if not taken[top - margin : top + size[0] + margin, left - margin : left + size[1] + margin].any():
            return top, left
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of faces")
    parser.add_argument("--count", type=int, default=0, help="photos with one face of 12 to 20 pixels each")
    parser.add_argument("--crowd", type=int, default=0, help="faces in one photo, of 20 pixels each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    files, rng = photos_in(args.faces), np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for number in range(args.count):
        face, _ = face_photo(files[number % len(files)], rng.uniform(12, 20))
        photo = background(rng, 80, 64)
        top, left = rng.integers(4, 64 - face.shape[0] - 4), rng.integers(4, 80 - face.shape[1] - 4)
        photo[top : top + face.shape[0], left : left + face.shape[1]] = face
        Image.fromarray(photo).save(args.out / f"photo{number:05d}.png")
    if args.crowd:
        Image.fromarray(crowd(files, rng, args.crowd, 20)).save(args.out / f"crowd{args.crowd}.png")


if __name__ == "__main__":
    main()
