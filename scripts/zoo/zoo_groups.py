"""Tells for which faces the shipped networks do well and for which they fail: writes docs/results/groups.md.

    python scripts/zoo/zoo_groups.py --sets datasets/celeba_val datasets/helen_train   # made with wnet prepare --scales 2 4 8

Groups are made from each set's parsing maps and from simple statistics of the HR face, all of them stated in GROUPS below. The
values of each face are those of docs/results/faces; what is missing there is measured, and added. Grey and compressed faces are
made here, of the first --faces of each set: the same LR face, without colour or through JPEG, enlarged and compared with the true
one (without colour for the grey).
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import measured
import numpy as np
from PIL import Image
from places import ROOT, need_all
from skimage.color import rgb2lab
from tqdm import tqdm

from wnet_arch import disk, metrics
from wnet_arch.benchmark import stats
from wnet_arch.benchmark.results import Results
from wnet_arch.benchmark.tables import table
from wnet_arch.cli.common import run_script
from wnet_arch.data.face_parsing_dataset import reduce_bicubic
from wnet_arch.faces import labels
from wnet_arch.inference.entries import open_one
from wnet_arch.inference.sources import Source, bicubic
from wnet_arch.inference.test_sets import TestSet, open_sets

#: Groups smaller than this are left out: their means say nothing.
FEWEST = 15
#: Columns of the benchmark that are shown: title, digits.
VALUES = {"psnr_dic": ("PSNR", 2), "lpips": ("LPIPS", 3), "landmark_distance": ("landmarks, px", 2), "identity": ("identity", 3)}
JPEG = (90, 60, 30)
#: The network whose values are shown in full.
FIRST = "WNet"
#: By the face's name: those of VALUES.
Values = dict[str, np.ndarray]

INTRODUCTION = """# Where the networks fail

`{command}`
wrote this page: {sets}. Nothing was trained or chosen by these tables. Networks, metrics and protocol
(`dic`) are those of the [model zoo](../../MODEL_ZOO.md), without the networks that were trained on from another one. Theirs is the
number of images that their cards tell, so tables compare what ships, not designs.

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


def values_of(found: Results, scale: int) -> dict[str, Values]:
    """Of a benchmark on one set, by the network's name."""
    columns, faces = [found.column(column) for column in VALUES], found.sets[0]
    tables = {network.name: found.values[faces.name, scale, network.name] for network in found.at(scale)}
    return {name: dict(zip(faces.keys, values[:, columns])) for name, values in tables.items()}


def group_table(of: dict[str, list[str]], values: dict[str, Values], first: str) -> str:
    """One row a group: bicubic and the first network by all metrics, the other networks by what ``first`` is ahead of them."""
    others = [name for name in values if name not in (first, "Bicubic")]
    header = ["group", "faces", "Bicubic PSNR, dB", *(f"{first} {title}" for title, _ in VALUES.values()), "gain over Bicubic, dB"]
    header += [f"over {name}, dB" for name in others]
    rows = []
    for group, keys in of.items():
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


def networks(names: list[str], scale: int) -> dict[str, Source]:
    """Bicubic and those for the scale, by the benchmark's names."""
    found = [bicubic(scale), *(open_one(name, None) for name in names if name.endswith(f"_x{scale}"))]
    return {source.name: source for source in found}


def document(args: argparse.Namespace, command: str) -> str:
    """The whole page."""
    need_all()
    names, parts = measured.grouped(), []
    scales = sorted({int(name.rpartition("_x")[2]) for name in names}, reverse=True)
    sets = open_sets(args.sets, scales)
    of = {test_set.name: members(test_set) for test_set in sets}
    found = {}
    for entry, test_set in zip(args.sets, sets):  # by itself, so that what is known of one set is not measured with another
        out = str(args.benchmark / "groups" / test_set.name)
        found[test_set.name] = measured.measure(
            names, [entry], out, command, args.write, measured.METRICS, new=True, workers=args.workers
        )
    for scale in scales:
        nets = networks(names, scale)
        first = FIRST if FIRST in nets else next(name for name in nets if name != "Bicubic")
        for test_set in sets:
            values = values_of(found[test_set.name], scale)
            parts += [f"## {test_set.name}, x{scale}", group_table(of[test_set.name], values, first)]
            parts.append(f"Of its first {min(args.faces, len(test_set.keys))} faces:")
            parts.append(changed_table(test_set, scale, nets, args.faces))
    faces = "; ".join(f"{s.name}, {len(s.keys):,} faces" for s in sets)
    return INTRODUCTION.format(command=command, sets=faces) + "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help="with maps, as scripts/zoo/model_zoo.py takes them")
    parser.add_argument("--benchmark", type=Path, default=Path("zoo_benchmark"), help="its cache (default: %(default)s)")
    parser.add_argument("--faces", type=int, default=100, help="faces of each set whose input is changed (default: 100)")
    parser.add_argument("--workers", type=int, metavar="N")
    parser.add_argument("--write", type=Path, default=ROOT, metavar="DIR", help="root of what is written (default: the repository)")
    args = parser.parse_args()
    page = args.write / "docs" / "results" / "groups.md"
    disk.write_text(page, document(args, shlex.join(["python", "scripts/zoo/zoo_groups.py", *sys.argv[1:]])))
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
