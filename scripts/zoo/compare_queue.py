"""Compares the finished trainings of a queue that differ in one option, over seeds: writes a page.

    python scripts/zoo/train_queue.py scripts/zoo/queues/recipe.toml
    python scripts/zoo/compare_queue.py scripts/zoo/queues/recipe.toml --by optimizer --page docs/results/recipe.md

Trainings that are equal but for `seed` and the options of --by are compared with each other, seed by seed: so both have seen the
same faces in the same order. Measured are the last weights, on the first --faces faces of each --val (protocol dic). The interval
of a difference is that of Student's t over the seeds, 95 %: what another seed would give. What has been measured is kept beside the
weights. Trainings that have not ended are named and left out.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import train_queue
import train_zoo
from scipy.stats import t as student
from tqdm import tqdm

from wnet_arch import disk, options
from wnet_arch.archs.base import build_network
from wnet_arch.benchmark.tables import table
from wnet_arch.cli.common import run_script
from wnet_arch.data.set_paths import find_set
from wnet_arch.errors import UsageError
from wnet_arch.inference.runners import TorchRunner
from wnet_arch.inference.test_sets import open_set
from wnet_arch.metrics import protocols
from wnet_arch.weights.checkpoint import read_state_dict

#: Options of a training that do not tell it from another one.
APART = ("seed", "name", "out", "workers", "validations", "val")
PAGE = """# {title}

{amount}PSNR in dB (protocol dic) of the last weights on the first {faces} faces
of {sets}. Differences are taken seed by seed, with 95 % intervals of Student's t over the seeds.

    {command}

{table}
"""


def arguments(training: train_queue.Training) -> argparse.Namespace:
    return train_zoo.build_parser().parse_args(training.arguments)


def kind(training: train_queue.Training, by: list[str], others: dict[str, train_queue.Training]) -> str:
    """Equal for trainings that differ in nothing but the seed and the options ``by``; so may those that they come ``after``."""
    known = {key: value for key, value in vars(arguments(training)).items() if key not in (*APART, *by)}
    if training.after:
        known["after"] = kind(others[training.after], by, others)
        if "force_yml" in known:
            known["force_yml"] = known["force_yml"][:-1]  # where the weights of that training lie
    return json.dumps(known, sort_keys=True, default=str)


def title(args: argparse.Namespace, by: list[str]) -> str:
    changed = "" if "network_option" in by else ", ".join(f"{key} {value}" for key, value in args.network_option)
    network = "" if "network" in by else f"{args.network} "
    return f"{network}x{args.scale}{f' ({changed})' if changed else ''}"


def shown(value, all_values: list) -> str:
    """The value of the option that is compared; of a list, as --force_yml has, what not all have, by the last part of its key."""
    if not isinstance(value, list):
        return str(value)
    own = [item for item in value if any(item not in other for other in all_values)]
    if not all(isinstance(item, tuple) or "=" in item for item in own):  # sets of --data
        return ", ".join(own)
    pairs = [item if isinstance(item, tuple) else tuple(item.split("=", 1)) for item in own]
    keys = {pair[0] for other in all_values for pair in ((i if isinstance(i, tuple) else i.split("=", 1)) for i in other)}
    return ", ".join(f"{_short(key, keys)} {val}" for key, val in pairs) or "without"


def _short(key: str, keys: set[str]) -> str:
    """The last parts of a key, as many as tell it from the others."""
    parts = key.split(":")
    for count in range(1, len(parts)):
        short = ":".join(parts[-count:])
        if not any(other != key and f":{other}".endswith(f":{short}") for other in keys):
            return short
    return key


def measured(training: train_queue.Training, val: str, faces: int) -> float:
    """Mean PSNR of the last weights, kept in the training's folder."""
    kept, asked = training.folder / "measured.json", {"val": val, "faces": faces, "weights": training.weights.stat().st_mtime}
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    known = [known] if isinstance(known, dict) else known  # a file of one set, as earlier versions wrote it
    for one in known:
        if one["asked"] == asked:
            return one["psnr"]
    opt = options.load(str(next(training.weights.parents[1].glob("*.yml"))))
    net = build_network(opt["network_g"]).eval()
    net.load_state_dict(read_state_dict(str(training.weights), "params"))
    value = psnr(TorchRunner(training.name, opt["scale"], net), val, faces, training.name)
    current = [one for one in known if one["asked"]["weights"] == asked["weights"]]
    disk.write_text(kept, json.dumps([*current, {"asked": asked, "psnr": value}]))
    return value


def psnr(runner: TorchRunner, val: str, faces: int, label: str) -> float:
    scale = runner.scale
    test_set, protocol, values = open_set(val, "val", [scale], faces), protocols.get("dic"), []
    for key in tqdm(test_set.keys, desc=label, unit="face", disable=None):
        gt = test_set.hr(key)
        sr = runner.run([test_set.lr(key, scale, gt)], [key])[0].sr
        values.append(protocol.psnr(sr, gt, scale))
    return float(np.mean(values))


def difference(values: np.ndarray, others: np.ndarray) -> str:
    """Mean of the differences, and its interval, of two rows of PSNR by seed."""
    apart = values - others
    if len(apart) < 2:
        return f"{apart[0]:+.2f} (one seed)"
    half = student.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / len(apart) ** 0.5
    return f"{apart.mean():+.2f} [{apart.mean() - half:+.2f}, {apart.mean() + half:+.2f}]"


def rows(found: dict[str, dict[str, dict[int, list[float]]]], titles: dict[str, str]) -> list[list[str]]:
    """One row a value of the options, ``found[kind][value][seed]`` a PSNR for each set; the first value is what the others are
    compared with.
    """
    lines = []
    for name, values in found.items():
        first = next(iter(values.values()))
        for value, by_seed in values.items():
            line = [titles[name], value]
            for number in range(len(next(iter(by_seed.values())))):
                own, others = ({seed: each[number] for seed, each in one.items()} for one in (by_seed, first))
                common = sorted(set(own) & set(others))
                pair = [np.array([each[seed] for seed in common]) for each in (own, others)]
                cells = ", ".join(f"{own[seed]:.2f}" for seed in sorted(own))
                compared = difference(*pair) if common and by_seed is not first else ""
                line += [f"{np.mean(list(own.values())):.2f}", *[cells] * (number == 0), compared]
            lines.append(line)
    return lines


def collected(trainings: list[train_queue.Training], by: list[str], vals: list[str], faces: int) -> tuple[dict, dict, set]:
    """PSNR of all that have ended as :func:`rows` takes them, the titles of the kinds, and their numbers of images and batches."""
    found, titles, amounts = defaultdict(lambda: defaultdict(dict)), {}, set()
    values = {option: [getattr(arguments(one), option) for one in trainings] for option in by}
    others = {training.name: training for training in trainings}
    for training in trainings:
        if not training.progress()["done"]:
            print(f"{training.name} has not ended: left out")
            continue
        own = arguments(training)
        same = kind(training, by, others)
        titles[same] = title(own, by)
        by_seed = found[same][", ".join(shown(getattr(own, option), values[option]) for option in by)]
        if own.seed in by_seed:
            raise UsageError(f"{training.name} and one above it differ in nothing that is shown")
        by_seed[own.seed] = [measured(training, val, faces) for val in vals]
        amounts.add((own.images or 0, own.batch))
    return found, titles, amounts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("queue", type=Path, metavar="QUEUE")
    add(
        "--by", required=True, nargs="+", metavar="OPTION", help="the options compared: optimizer, lr, network, network_option, ..."
    )
    add("--out", type=Path, default=Path("zoo"), metavar="DIR", help="of train_queue.py (default: zoo)")
    add("--val", nargs="+", default=["datasets/celeba/val"], metavar="SET")
    add("--faces", type=int, default=150)
    add("--title", help="of the page")
    add("--page", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    try:
        trainings, vals = train_queue.read(args.queue, args.out), [find_set(val) for val in args.val]
        for option in args.by:
            if option not in (*train_queue.OPTIONS, "network"):
                raise UsageError(f"--by {option}: a training has network, {', '.join(train_queue.OPTIONS)}")
        found, titles, amounts = collected(trainings, args.by, vals, args.faces)
    except UsageError as error:
        sys.exit(f"compare_queue: error: {error}")
    if not found:
        sys.exit(f"compare_queue: error: no training of {args.queue} has ended in {args.out}; train_queue.py runs them")
    amount = ""
    if not {"images", "minutes", "batch"} & set(args.by):
        if len(amounts) > 1 or 0 in {images for images, _ in amounts}:
            sys.exit(f"compare_queue: error: {args.queue}: its trainings must have one number of `images` and one of `batch`")
        amount = "Each training saw {:,} images in batches of {}. ".format(*amounts.pop())
    scales = sorted({own.scale for own in map(arguments, trainings)})
    names = [Path(val).name if Path(val).name != "val" else val for val in args.val]
    heads = ["PSNR", "seeds", "difference to the first"]
    if len(vals) > 1:
        heads = [head for name in names for head in (f"{name}: PSNR", *["seeds"] * (name is names[0]), "difference to the first")]
    page = PAGE.format(
        title=args.title or f"Trainings by {' and '.join(args.by)}", amount=amount,
        faces=max(len(open_set(val, "val", scales, args.faces).keys) for val in vals),
        sets=about_sets({name: enlarged(val, scales, args.faces) for name, val in zip(names, vals)}),
        command=shlex.join(["python", "scripts/zoo/compare_queue.py", *sys.argv[1:]]),
        table=table(["network", ", ".join(args.by), *heads], rows(found, titles), left=2),
    )  # fmt: skip
    disk.write_text(args.page, page)
    print(page)
    return 0


def about_sets(plain: dict[str, str]) -> str:
    """The sets by name, each with what bicubic enlargement has on it."""
    if len(plain) == 1:
        return "; bicubic enlargement has ".join(*plain.items())
    return ", ".join(f"{name} (bicubic enlargement: {value})" for name, value in plain.items())


def enlarged(val: str, scales: list[int], faces: int) -> str:
    """What bicubic enlargement has on a set, of each scale."""
    return " and ".join(f"{psnr(plain(scale), val, faces, 'bicubic'):.2f} dB (x{scale})" for scale in scales)


def plain(scale: int) -> TorchRunner:
    return TorchRunner("Bicubic", scale, build_network({"type": "Bicubic", "scale": scale}))


if __name__ == "__main__":
    sys.exit(run_script(main))
