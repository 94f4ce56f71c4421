"""Tells for which faces the shipped networks do well and for which they fail: writes docs/results/groups.md.

    python scripts/zoo/model_zoo.py --sets datasets/celeba_val datasets/helen_train
    python scripts/zoo/zoo_groups.py --sets datasets/celeba_val datasets/helen_train --benchmark zoo_benchmark

Groups are made from each set's parsing maps and from simple statistics of the HR face, all of them stated in GROUPS below. The
values of each face are those of the benchmark's per_image.csv. Grey and compressed faces are made here, of the first --faces of
each set: the same LR face, without colour or through JPEG, enlarged and compared with the true one (without colour for the grey).
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from places import ROOT, need_all
from skimage.color import rgb2lab
from tqdm import tqdm

from wnet_arch import disk, list_pretrained, metrics
from wnet_arch.benchmark import stats
from wnet_arch.benchmark.tables import table
from wnet_arch.cli.common import run_script
from wnet_arch.data.face_parsing_dataset import reduce_bicubic
from wnet_arch.faces import labels
from wnet_arch.inference.entries import open_one
from wnet_arch.inference.sources import Source, bicubic
from wnet_arch.inference.test_sets import TestSet, open_sets
from wnet_arch.weights import metadata, shipped

#: Groups smaller than this are left out: their means say nothing.
FEWEST = 15
#: Columns of per_image.csv that are shown: title, digits.
VALUES = {"psnr_dic": ("PSNR", 2), "lpips": ("LPIPS", 3), "landmark_distance": ("landmarks, px", 2), "identity": ("identity", 3)}
JPEG = (90, 60, 30)

INTRODUCTION = """# Where the networks fail

`{command}`
wrote this page: {sets}. Nothing was trained or chosen by these tables. Networks, metrics and protocol
(`dic`) are those of the [model zoo](../../MODEL_ZOO.md), without the networks that were trained on from another one.

Groups come from the set's parsing maps, made by our own parser, which makes mistakes, and from simple statistics of the HR face.
**Skin tone is measured from pixels, as the individual typology angle of the median skin colour. It includes the light and the white
balance of the photo, so it is not a person's skin type.** Nothing here says who a person is. A face may be in several groups.

"""


@dataclass(frozen=True)
class Face:
    """What a group may look at: HR face, uint8 (H, W, 3), and its parsing map, uint8 (H, W)."""

    image: np.ndarray
    map: np.ndarray

    @cached_property
    def lab(self) -> np.ndarray:
        """The face in CIELAB: lightness 0 to 100, a, b."""
        return rgb2lab(self.image)

    def share(self, part: int) -> float:
        """Of the picture, 0 to 1."""
        return float((self.map == part).mean())

    def tone(self) -> float:
        """Individual typology angle of the median skin colour, degrees: large is light (Chardon et al., 1991)."""
        skin = self.lab[self.map == labels.SKIN]
        lightness, _, b = np.median(skin, axis=0) if len(skin) else np.full(3, np.nan)
        return float(np.degrees(np.arctan2(lightness - 50, b)))

    def turn(self) -> float:
        """Of the head: how far the nose is from the middle of the skin, in widths of the skin. 0 is frontal."""
        nose, skin = (np.nonzero(self.map == part)[1] for part in (labels.NOSE, labels.SKIN))
        if len(nose) < 10 or len(skin) < 100:
            return float("nan")
        left, right = np.percentile(skin, (2, 98))
        return float(abs(nose.mean() - (left + right) / 2) / (right - left))

    def detail(self) -> float:
        """How much of the picture is lost x8: RMS of what bicubic enlargement does not bring back, 0 to 255."""
        height, width = self.image.shape[:2]
        back = np.asarray(Image.fromarray(reduce_bicubic(self.image, 8)).resize((width, height), Image.Resampling.BICUBIC), float)
        return float(np.sqrt(((back - self.image) ** 2).mean()))


#: Name, how it is decided. NaN is in no group.
GROUPS: dict[str, Callable[[Face], bool]] = {
    "all": lambda face: True,
    "glasses (over 0.5 % of the picture)": lambda face: face.share(labels.EYE_GLASSES) > 0.005,
    "no glasses (none at all)": lambda face: face.share(labels.EYE_GLASSES) == 0,
    "hat (over 3 %)": lambda face: face.share(labels.HAT) > 0.03,
    "open mouth (over 0.4 %)": lambda face: face.share(labels.MOUTH) > 0.004,
    "closed mouth (none)": lambda face: face.share(labels.MOUTH) == 0,
    "frontal (nose within 4 % of the middle of the skin)": lambda face: face.turn() < 0.04,
    "turned (4 to 12 %)": lambda face: 0.04 <= face.turn() < 0.12,
    "strongly turned (over 12 %)": lambda face: face.turn() >= 0.12,
    "skin very light (typology angle over 55 degrees)": lambda face: face.tone() > 55,
    "skin light (41 to 55)": lambda face: 41 < face.tone() <= 55,
    "skin intermediate (28 to 41)": lambda face: 28 < face.tone() <= 41,
    "skin tan (10 to 28)": lambda face: 10 < face.tone() <= 28,
    "skin brown or dark (below 10)": lambda face: face.tone() <= 10,
    "dim photo (mean lightness below 35 of 100)": lambda face: face.lab[..., 0].mean() < 35,
    "bright photo (over 65)": lambda face: face.lab[..., 0].mean() > 65,
    "little colour (mean chroma below 6)": lambda face: np.hypot(face.lab[..., 1], face.lab[..., 2]).mean() < 6,
    "little detail (x8 loses under 12 of 255, RMS)": lambda face: face.detail() < 12,
    "much detail (over 20)": lambda face: face.detail() > 20,
}


def members(test_set: TestSet) -> dict[str, list[str]]:
    """The faces of each group, by their names."""
    found = defaultdict(list)
    for key in tqdm(test_set.keys, desc=f"groups of {test_set.name}", unit="face"):
        face = Face(test_set.hr(key), test_set.labels(key))
        for name, belongs in GROUPS.items():
            if belongs(face):
                found[name].append(key)
    return {name: found[name] for name in GROUPS if len(found[name]) >= FEWEST}


def read_values(folder: Path) -> dict[tuple[str, int], dict[str, dict[str, list[float]]]]:
    """per_image.csv: (set, scale) to network to face to the values of VALUES."""
    path, found = folder / "per_image.csv", defaultdict(lambda: defaultdict(dict))
    if not path.exists():
        sys.exit(f"there is no {path}: run scripts/zoo/model_zoo.py --out {folder} with the same --sets first")
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = [float(row[column] or "nan") for column in VALUES]
            found[row["set"], int(row["scale"])][row["network"]][row["image"]] = values
    return found


def group_table(of: dict[str, list[str]], values: dict[str, dict[str, list[float]]], first: str) -> str:
    """One row a group: bicubic and the first network by all metrics, the other networks by what ``first`` is ahead of them."""
    others = [name for name in values if name not in (first, "Bicubic")]
    header = ["group", "faces", "Bicubic PSNR, dB", *(f"{first} {title}" for title, _ in VALUES.values()), "gain over Bicubic, dB"]
    header += [f"over {name}, dB" for name in others]
    rows = []
    for group, keys in of.items():
        missing = [key for key in keys if any(key not in values[name] for name in values)]
        if missing:
            sys.exit(f"the benchmark lacks the face {missing[0]}: run scripts/zoo/model_zoo.py again without --limit")
        column = {name: np.array([values[name][key] for key in keys]) for name in values}
        own = [f"{np.nanmean(column[first][:, i]):.{digits}f}" for i, (_, digits) in enumerate(VALUES.values())]
        ahead = [interval(column[first][:, 0] - column[name][:, 0]) for name in ("Bicubic", *others)]
        rows.append([group, f"{len(keys):,}", f"{column['Bicubic'][:, 0].mean():.2f}", *own, *ahead])
    return table(header, rows)


def interval(differences: np.ndarray) -> str:
    """Mean with its 95 % interval."""
    found = stats.intervals(differences[:, None])[0]
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG, with Pillow's defaults otherwise."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file).convert("RGB"))


def grey(image: np.ndarray) -> np.ndarray:
    """Without colour, as RGB."""
    return np.array(Image.fromarray(image).convert("L").convert("RGB"))


def changed_inputs() -> dict[str, tuple[Callable, Callable]]:
    """Name to what is done with the LR and with the HR face."""
    same = lambda image: image  # noqa: E731
    kinds = {"as it is": (same, same), "grey": (grey, grey)}
    kinds.update({f"LR face through JPEG, quality {q}": (lambda image, q=q: compressed(image, q), same) for q in JPEG})
    return kinds


def changed_table(test_set: TestSet, scale: int, nets: dict[str, Source], faces: int) -> str:
    """PSNR (dic) and LPIPS of all networks where the input is not what they were trained on."""
    keys = test_set.keys[:faces]
    hr = [test_set.hr(key) for key in keys]
    lr = [test_set.lr(key, scale, image) for key, image in zip(keys, hr)]
    protocol, lpips = metrics.protocols.get("dic"), metrics.create("lpips")
    rows = []
    for name, (change_lr, change_hr) in changed_inputs().items():
        gt, cells = [change_hr(image) for image in hr], []
        for net in tqdm(nets.values(), desc=f"{test_set.name} x{scale}, {name}", unit="network"):
            sr = net.load(test_set, "cpu", batch=16)([change_lr(image) for image in lr], keys)
            psnr = np.mean([protocol.psnr(one, other, scale) for one, other in zip(sr, gt)])
            cells.append(f"{psnr:.2f} / {np.mean(lpips.measure(sr, gt)['lpips']):.3f}")
        rows.append([name, *cells])
    return table(["input", *(f"{name} PSNR, dB / LPIPS" for name in nets)], rows)


def networks(scale: int) -> dict[str, Source]:
    """Bicubic and what ships for the scale, by the benchmark's names; without variants."""
    found = [bicubic(scale), *(open_one(name, None) for name in _plain() if name.endswith(f"_x{scale}"))]
    return {source.name: source for source in found}


def _plain() -> list[str]:
    """What ships, but not what was trained on from another network, nor what model_zoo.py measures among a queue alone."""
    names = [name for name in list_pretrained() if "_sharp_" not in name and "_real_" not in name]
    return [name for name in names if metadata.QUEUE not in metadata.texts(shipped.path(name))]


def document(args: argparse.Namespace) -> str:
    """The whole page."""
    values, parts = read_values(args.benchmark), []
    need_all()
    scales = sorted({int(name.rpartition("_x")[2]) for name in _plain()}, reverse=True)
    sets = open_sets(args.sets, scales)
    of = {test_set.name: members(test_set) for test_set in sets}
    for scale in scales:
        nets = networks(scale)
        first = "WNetLite" if "WNetLite" in nets else next(name for name in nets if name != "Bicubic")
        for test_set in sets:
            known = {name: values[test_set.name, scale].get(name, {}) for name in nets}
            parts += [f"## {test_set.name}, x{scale}", group_table(of[test_set.name], known, first)]
            parts.append(f"Of its first {min(args.faces, len(test_set.keys))} faces:")
            parts.append(changed_table(test_set, scale, nets, args.faces))
    faces = "; ".join(f"{s.name}, {len(s.keys):,} faces" for s in sets)
    command = f"python scripts/zoo/zoo_groups.py --sets {' '.join(args.sets)} --benchmark {args.benchmark}"
    return INTRODUCTION.format(command=command, sets=faces) + "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help="as scripts/zoo/model_zoo.py had them")
    parser.add_argument(
        "--benchmark", type=Path, default=Path("zoo_benchmark"), metavar="DIR", help="--out of scripts/zoo/model_zoo.py"
    )
    parser.add_argument("--faces", type=int, default=200, help="faces of each set whose input is changed (default: 200)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "groups.md")
    args = parser.parse_args()
    disk.write_text(args.out, document(args))
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
