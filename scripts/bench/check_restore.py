"""Restores photos whose originals are known, by `wnet restore`, and checks what came out.

    python scripts/bench/check_restore.py --faces celeba_val --photos helen_train demo-faces --out check \\
        --weights experiments/wnet_lite_x8 experiments/wnet_lite_x4

Group photos are made from the faces at sizes of 12 to 200 pixels (`group_photos.py`), portraits are taken as they are, or made
smaller first where a network would not fit; each is reduced x8 or x4, and `wnet restore --scale` enlarges it again. Checked: the
faces that the detector finds in the photo at its own size are all restored, but those too large for the networks; nothing outside
of the faces' squares differs from plain enlargement; restored faces are nearer to the original than enlarged ones; and no seam
shows, that is, along the outline of what was pasted the picture is no rougher than the two that meet there. With `--turned` the
photos lie upright, on a side, on their heads and on the other side in turn, which must be seen, and what counts are the faces that
the detector finds in them upright. Prints a table, and writes it to OUT/table.md, and sheets to be looked at to OUT/sheet_*.png.
Exit code 1 if a check fails.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from group_photos import Placed, Scene, group_photo, photos_in, reduced, turned
from PIL import Image

from wnet_arch import visuals
from wnet_arch.cli.common import run_script
from wnet_arch.data.photos import load_photo
from wnet_arch.errors import WNetError
from wnet_arch.restore import FaceRestorer, RestoredFace, RestoredPhoto, frames, paste
from wnet_arch.restore.orientation import frame_as_it_stands

#: Faces from this side on must all be restored, if the detector finds them without help.
SMALLEST = 12
#: How rough the outline of a pasted face may be, see :func:`seam`: on average, and of any face.
SEAM, WORST_SEAM = 1.02, 1.1
#: Faces of portraits are at most this share of the largest that is restored.
FILLED = 0.9
#: Least share of faces that must be nearer to the original.
BETTER = 0.95
BANDS = ((12, 16), (16, 20), (20, 30), (30, 40), (40, 80))


@dataclass
class FaceResult:
    """A restored face. PSNR in dB of R, G, B, in the pixels that were pasted. ``seam``, ``hard``: see :func:`seam`; the second for
    the same face cut off where the mask is a half.
    """

    side: float
    bicubic: float
    restored: float
    seam: float
    hard: float
    crops: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class PhotoResult:
    """``demanded``: sides of the faces that the detector finds in the photo at its own size; ``missed``: of those, the ones that
    were not found or not restored. ``differing``: pixels outside of faces that are not those of plain enlargement. ``astray``:
    whether the photo was taken to lie otherwise than it does.
    """

    name: str
    faces: list[FaceResult]
    demanded: list[float]
    missed: list[float]
    placed: list[tuple[float, bool]]
    differing: int
    astray: bool


def make_scenes(args: argparse.Namespace, restorer: FaceRestorer) -> list[Scene]:
    """Group photos, x8 and x4 in turn, and portraits from all the folders of photos."""
    rng = np.random.default_rng(args.seed)
    faces = photos_in(args.faces)
    scenes = [group_photo(f"group{i:02d}", faces, rng, (8, 4)[i % 2]) for i in range(args.groups)]
    for number, folder in enumerate(args.photos):
        wanted = args.portraits // len(args.photos) + (number < args.portraits % len(args.photos))
        files = photos_in(folder)
        found = filter(None, (portrait(files[i], restorer) for i in rng.permutation(len(files))))
        scenes += [scene for scene, _ in zip(found, range(wanted))]
    return [turned(scene, number // 2 % 4) for number, scene in enumerate(scenes)] if args.turned else scenes


def portrait(path: Path, restorer: FaceRestorer) -> Scene | None:
    """A photo reduced so far that a network fits its largest face; ``None`` where there is no face, or it is too small.

    Where the face would still be too large at x8, the original is made smaller first.
    """
    photo = load_photo(path)
    found = restorer.detector.detect(photo)
    if not found or max(photo.shape[:2]) > 2000:
        return None
    side, fitting = frames.frame_of(found[0], restorer.detector.name).side, 8 * FILLED * restorer.largest_side
    if side > fitting:
        height, width = (round(length * fitting / side) for length in photo.shape[:2])
        photo, side = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC)), fitting
    for scale in (8, 4):
        if SMALLEST <= side / scale <= restorer.largest_side:
            scene = reduced(f"{path.parent.name}_{path.stem}", photo, scale)
            return scene if min(scene.photo.shape[:2]) >= 16 else None
    return None


def run_command(folder: Path, scale: int, args: argparse.Namespace) -> Path:
    """Runs `wnet restore` over a folder. Returns that of the results."""
    out = folder.with_name(f"{folder.name}_restored")
    networks = ["--weights", *args.weights] if args.weights else []
    networks += ["--network", args.network] if args.network else []
    networks += ["--quality", args.quality] if args.quality else []
    command = [sys.executable, "-m", "wnet_arch.cli.wnet", "restore", folder, "--scale", scale, "--sheet", "-o", out, *networks]
    begin = time.monotonic()
    code = subprocess.run([str(part) for part in command], stdout=subprocess.DEVNULL).returncode
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"wnet restore {folder} --scale {scale}: {time.monotonic() - begin:.0f} s, exit code {code}, peak {peak:.0f} MiB so far")
    if code not in (0, 3):
        sys.exit(1)
    return out


def examine(scene: Scene, made: np.ndarray, restorer: FaceRestorer) -> PhotoResult:
    """Compares what the command has made with plain enlargement and with the original."""
    restorer.scale = scene.scale
    photo = restorer.restore(scene.photo)
    if not np.array_equal(photo.image, made):
        sys.exit(f"{scene.name}: FaceRestorer and the command differ")
    plain = paste.enlarge(scene.photo, scene.scale)
    outside = np.ones(plain.shape[:2], bool)
    for face in photo.restored:
        low, high = np.floor((face.frame.corners * scene.scale).min(0)), np.ceil((face.frame.corners * scene.scale).max(0))
        outside[max(0, int(low[1])) : max(0, int(high[1])), max(0, int(low[0])) : max(0, int(high[0]))] = False
    demanded = [frames.frame_of(one, restorer.detector.name) for one in restorer.detector.find(scene.upright)]
    demanded = [frame_as_it_stands(one, scene.quarters, *scene.photo.shape[:2]) for one in demanded if one.side >= SMALLEST]
    return PhotoResult(
        scene.name,
        [examine_face(face, scene, photo, plain) for face in photo.restored],
        [frame.side for frame in demanded],
        [frame.side for frame in demanded if not _is_done(frame.corners.mean(0), frame.side, photo.faces, restorer)],
        [(placed.side, _is_done(_middle(placed), placed.side, photo.faces, restorer)) for placed in scene.placed],
        int((made != plain).any(2)[outside].sum()),
        photo.turn != -90 * scene.quarters % 360,
    )


def examine_face(face: RestoredFace, scene: Scene, photo: RestoredPhoto, plain: np.ndarray) -> FaceResult:
    """Measures one face in the part of the photo around it: twice the side of its square."""
    middle, half = face.frame.corners.mean(0) * scene.scale, face.frame.side * scene.scale
    low = np.clip(np.round(middle - half).astype(int), 0, None)
    high = np.minimum(np.round(middle + half).astype(int), plain.shape[1::-1])
    place = slice(low[1], high[1]), slice(low[0], high[0])
    white, everywhere = np.full((frames.OUTPUT, frames.OUTPUT, 3), 255, np.float32), np.ones_like(face.mask)
    weight = _pasted(face, scene, white, face.mask, np.zeros_like(plain))[place][..., 0] / 255.0
    full = _pasted(face, scene, face.added, everywhere, plain)[place]
    crops = plain[place], photo.image[place], scene.truth[place]
    hard = np.where((weight > 0.5)[..., None], full, crops[0])
    return FaceResult(
        face.side,
        *(psnr(one, crops[2], weight > 0.5) for one in crops[:2]),
        *(seam(one, crops[0], full, weight, scene.scale) for one in (crops[1], hard)),
        crops,
    )


def psnr(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Of the pixels where ``where``, all three channels."""
    error = (image[where].astype(float) - truth[where]) ** 2
    return float(-10 * np.log10(max(error.mean(), 1e-9) / 255**2)) if error.size else float("nan")


def seam(image: np.ndarray, plain: np.ndarray, full: np.ndarray, weight: np.ndarray, scale: int) -> float:
    """How much rougher the picture is along the outline of what was pasted than the two that meet there: plain enlargement and the
    restored face without a mask. 1, or less, is no seam.

    Roughness is the mean length of the gradient of brightness, of the two weighted as they are mixed; along: within a quarter of a
    pixel of the unenlarged photo. An outline is where the mask is a half, or ends; the worse one counts.
    """
    rough, (rough_plain, rough_full) = _gradient(image), (_gradient(one) for one in (plain, full))
    expected = (1 - weight) * rough_plain + weight * rough_full
    worst = 0.0
    for level in (0.5, 0.02):
        inside = (weight > level).astype(np.uint8)
        if 0 < inside.mean() < 1:
            distance = np.where(inside, *(cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (inside, 1 - inside)))
            along = distance <= max(1, scale / 4)
            worst = max(worst, rough[along].mean() / max(expected[along].mean(), 1e-6))
    return worst


def _gradient(image: np.ndarray) -> np.ndarray:
    return np.hypot(*np.gradient(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)))


def _pasted(face: RestoredFace, scene: Scene, added: np.ndarray, mask: np.ndarray, onto: np.ndarray) -> np.ndarray:
    onto = onto.copy()
    paste.paste(onto, scene.photo.shape[:2], face.frame, added, mask)
    return onto


def _middle(placed: Placed) -> np.ndarray:
    return np.array((placed.left + placed.side / 2, placed.top + placed.side / 2))


def _near(middle: np.ndarray, side: float, other_middle: np.ndarray, other_side: float) -> bool:
    return bool(np.hypot(*(middle - other_middle)) < 0.5 * min(side, other_side) and 0.5 < side / other_side < 2)


def _is_done(middle: np.ndarray, side: float, faces: Sequence[RestoredFace], restorer: FaceRestorer) -> bool:
    """Whether this face was found, and restored unless it is too large for the networks."""
    found = [face for face in faces if _near(middle, side, face.frame.corners.mean(0), face.side)]
    return any(face.restored or face.side > restorer.largest_side for face in found)


def table(results: list[PhotoResult]) -> str:
    """Faces by their size in the reduced photo."""
    lines = [
        "| side of the face | placed | found | restored | PSNR bicubic | restored | gain | better | seam | if cut off |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for low, high in (*BANDS, (0, math.inf)):
        placed = [done for result in results for side, done in result.placed if low <= side < high]
        faces = [face for result in results for face in result.faces if low <= face.side < high]
        if not faces:
            continue
        values = np.array([(face.bicubic, face.restored, face.seam, face.hard) for face in faces])
        gain = values[:, 1] - values[:, 0]
        name = "all" if low < BANDS[0][0] else f"{low} to {high}"
        lines.append(
            f"| {name} | {len(placed)} | {sum(placed)} | {len(faces)} | {values[:, 0].mean():.2f} | {values[:, 1].mean():.2f} | "
            f"{gain.mean():+.2f} | {(gain > 0).sum()} of {len(gain)} | {values[:, 2].mean():.2f} | {values[:, 3].mean():.2f} |"
        )
    return "\n".join(lines) + "\n"


def verdict(results: list[PhotoResult], largest: float) -> list[tuple[str, bool]]:
    """What was checked, in words, and whether it holds. ``largest``: side of the largest face that is restored."""
    faces = [face for result in results for face in result.faces]
    gains = np.array([face.restored - face.bicubic for face in faces])
    seams = np.array([face.seam for face in faces])
    demanded, missed = (sum(len(getattr(result, what)) for result in results) for what in ("demanded", "missed"))
    large = sum(side > largest for result in results for side in result.demanded)
    differing = sum(result.differing for result in results)
    astray = [result.name for result in results if result.astray]
    return [
        (f"of {demanded} faces of {SMALLEST} pixels and more the detector finds by itself ({large} too large for the networks), "
         f"{missed} were missed", not missed),
        (f"{len(results)} photos, of which {len(astray)} were taken to lie otherwise than they do: {', '.join(astray) or 'none'}",
         not astray),
        (f"{differing} pixels outside of faces differ from plain enlargement", not differing),
        (f"in {len(gains)} restored faces the mean gain over bicubic is {gains.mean():+.2f} dB, {(gains > 0).mean():.1%} gained",
         bool(gains.mean() > 0 and (gains > 0).mean() >= BETTER)),
        (f"seam: mean {seams.mean():.3f} (limit {SEAM}), largest {seams.max():.3f} (limit {WORST_SEAM})",
         bool(seams.mean() <= SEAM and seams.max() <= WORST_SEAM)),
    ]  # fmt: skip


def draw(faces: list[FaceResult], path: Path) -> None:
    rows, notes = [], []
    for face in faces:
        rows.append([_squared(part) for part in face.crops])
        notes.append(f"{face.side:.1f} pixels\n{face.restored - face.bicubic:+.2f} dB\nseam {face.seam:.2f}")
    visuals.save(visuals.sheet(("bicubic", "restored", "original"), rows, notes, tile=256), str(path))


def _squared(image: np.ndarray) -> np.ndarray:
    side = max(image.shape[:2])
    return np.pad(image, ((0, side - image.shape[0]), (0, side - image.shape[1]), (0, 0)), constant_values=255)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--faces", type=Path, required=True, help="folder of faces: CelebA's photos (178x218), or square face images")
    add("--photos", type=Path, nargs="+", default=[], help="folders of portraits")
    add("--groups", type=int, default=24, help="group photos (default: 24)")
    add("--portraits", type=int, default=16, help="portraits (default: 16)")
    add("--weights", nargs="+", default=[], help="as `wnet restore` takes them")
    add("--network", help="a shipped network (default: those of --quality)")
    add("--quality", help="as `wnet restore` takes it")
    add("--turned", action="store_true", help="photos lie upright, on a side, on their heads, and on the other side in turn")
    add("--seed", type=int, default=0)
    add("--out", type=Path, required=True)
    args = parser.parse_args()
    restorer = FaceRestorer(args.network, weights=args.weights, quality=args.quality)
    scenes = make_scenes(args, restorer)
    results = []
    for scale in (4, 8):
        folder = args.out / f"x{scale}"
        folder.mkdir(parents=True, exist_ok=True)
        own = [scene for scene in scenes if scene.scale == scale]
        for scene in own:
            Image.fromarray(scene.photo).save(folder / f"{scene.name}.png")
        if own:
            made = run_command(folder, scale, args)
            results += [examine(scene, load_photo(made / f"{scene.name}.png"), restorer) for scene in own]
    faces = sorted((face for result in results for face in result.faces), key=lambda face: face.side)
    for name, part in (("sizes", faces[:: max(1, len(faces) // 20)]), ("seams", sorted(faces, key=lambda face: -face.seam)[:16])):
        draw(part, args.out / f"sheet_{name}.png")
    text = table(results)
    checks = verdict(results, restorer.largest_side)
    text += "".join(f"\n* {'passed' if good else 'FAILED'}: {what}" for what, good in checks) + "\n"
    (args.out / "table.md").write_text(text)
    print(f"{len(scenes)} photos\n{text}")
    return 0 if all(good for _, good in checks) else 1


if __name__ == "__main__":
    try:
        sys.exit(run_script(main))
    except WNetError as error:
        sys.exit(f"check_restore: error: {error}")
