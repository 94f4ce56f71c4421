"""The paper's ablation (Table 3, A to H) at one equal, reduced budget, from several seeds: writes docs/results/ablation.md.

    python scripts/zoo/ablation.py --images 800 --batch 4 --optimizer Muon --network-option peak=1 num_feat=32 --force_yml \
        train:wnet_opt:pixel_criterion=l1 train:wnet_opt:key_weight=0 train:wnet_opt:parsing_weight=0.03
    python scripts/zoo/ablation.py --minutes 10 --batch 4 --seeds 0 --network-option num_feat=32 --faces 200

Trains options/ablation/*_x4.yml by the recipe of the model zoo (scripts/zoo/train_zoo.py) with the paper's loss, without its VGG
terms unless --vgg names weights, and with what --force_yml changes; beside them, what the paper does not ask: H without the term
that compares its parsing map with the true one, and H that is given the true map. With --minutes instead of --images: H with
pyramids of all heights, trained for equal times, which makes docs/results/pyramids.md. All runs of a seed see the same faces in
the same order. Measures the last weights on the faces of --val (protocol dic). Runs, and what was measured, are kept in --out:
the same command continues where it was interrupted, and the page is written whenever a run has ended, with what there is. Several
such commands may share --out, one for each --seeds or --experiments, on as many cores; the whole command then writes the page of
all.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from train_zoo import FEWEST, OPTIONS, RATES, key_value, plan, recipe, run

from wnet_arch import disk, options
from wnet_arch.archs.base import build_network
from wnet_arch.archs.wnet_blocks import PARSING_CHANNELS
from wnet_arch.benchmark import stats
from wnet_arch.benchmark.paper_numbers import TABLE_3
from wnet_arch.benchmark.tables import table
from wnet_arch.cli.common import run_script
from wnet_arch.data.set_paths import find_set
from wnet_arch.errors import UsageError
from wnet_arch.inference.provenance import training_set
from wnet_arch.inference.runners import TorchRunner
from wnet_arch.inference.test_sets import TestSet, open_set
from wnet_arch.losses.wnet_loss import skin_target
from wnet_arch.metrics import protocols
from wnet_arch.weights.checkpoint import read_state_dict

ROOT = Path(__file__).resolve().parents[2]
SCALE = 4
#: What is not in the paper: H, whose parsing map nothing compares with the true one; and H which is given the true one.
UNSUPERVISED, GIVEN = "H, map not supervised", "H, true map given"
#: Experiments, and what changes in the option file, as for --force_yml.
CHANGES = {
    **dict.fromkeys(TABLE_3, ()),
    UNSUPERVISED: ("train:wnet_opt:parsing_weight=0",),
    GIVEN: ("train:true_parsing=true",),
}
EXPERIMENTS = tuple(CHANGES)
PEAKS = (1, 2, 4, 8)
#: Iterations that measure the pace of a pyramid, and those of them that do not count.
PACE = 8, 3

INTRODUCTION = """# The modules of W-Net, one by one

`{command}`
wrote this page. It compares experiments A to H of the paper's Table 3 (x4) with two more. One is H without the loss term that
compares its parsing map with the true one. The other is H with the true map instead of its estimate, in training and in testing. No
network in use has that map, so it shows the most that the idea can give.

Each was trained from {seeds} seeds on the same {images:,} images ({data}), by the recipe
of the model zoo ({rate}, batches of {batch}, {precision}) with {form}. PSNR and SSIM: protocol
`dic`, last weights, {faces:,} faces of {val}.

**This is a small budget and a small W-Net.** The paper's has 64 channels and enlarges to 1024x1024. The paper does not say
how many images it saw; `options/wnet_x8.yml` takes 1.6 million. The table shows what the modules do at the beginning of training,
and no more.

± is the standard error over the seeds. Intervals of the differences are over the faces, of their mean over seeds (bootstrap, 95 %).

"""
PYRAMIDS = """# The height of W-Net's pyramid, at equal time

`{command}`
wrote this page. It compares pyramids of all heights in W-Net x4, experiment H of the paper's Table 3: `peak: 8` enlarges to
1024x1024, as in the paper; `peak: 1` stays at 128x128. Each was trained for {minutes:g} minutes ({threads}, one after the other;
seeds {seeds}), with as many images as that gave, drawn from {data}: {rate}, batches of {batch}, {precision},
`num_feat: {num_feat}`{vgg} VGG terms. PSNR and SSIM: protocol `dic`, last weights, {faces:,} faces of {val}.

± is the standard error over the seeds. Intervals of the differences are over the faces, of their mean over seeds (bootstrap, 95 %).

"""


def folder_of(args: argparse.Namespace, experiment: str, seed: int) -> Path:
    known = {UNSUPERVISED: "H_unsupervised", GIVEN: "H_true_map"}
    return args.out / f"{known.get(experiment, experiment)}_seed{seed}"


def planned(args: argparse.Namespace, experiment: str, seed: int) -> dict:
    """The options of one run: the experiment's file with what all of them share."""
    opt = options.load(str(OPTIONS / "ablation" / f"{experiment[0]}_x{SCALE}.yml"))
    args.seed = seed
    opt = recipe(args, opt, args.images // args.batch)
    opt["train"]["wnet_opt"]["vgg"] = args.vgg
    return options.override(opt, CHANGES[experiment])


def measure(args: argparse.Namespace, experiment: str, seed: int) -> list[list[float]]:
    """PSNR and SSIM of every face after the training, which is done, or gone on with, if need be."""
    return trained(args, folder_of(args, experiment, seed), planned(args, experiment, seed), f"{experiment}, seed {seed}")


def measure_peak(args: argparse.Namespace, peak: int, seed: int) -> tuple[list[list[float]], dict]:
    """The same of H with a pyramid of some height, trained for --minutes; and the plan: iterations, and seconds of one."""
    timed = argparse.Namespace(**{**vars(args), "network": "H", "scale": SCALE, "seed": seed})
    timed.network_option = [*(pair for pair in args.network_option if pair[0] != "peak"), ("peak", peak)]
    folder = args.out / f"peak{peak}_seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    options.save(planned(argparse.Namespace(**{**vars(timed), "images": 10 * args.batch}), "H", seed), str(folder / "base.yml"))
    found = plan(timed, folder / "base.yml", folder, *PACE)
    timed.images = found["iterations"] * args.batch
    return trained(args, folder, planned(timed, "H", seed), f"peak {peak}, seed {seed}"), found


def _of_the_training(opt: dict) -> dict:
    """Options without what tells on which machine it runs: another one may go on."""
    return {key: value for key, value in opt.items() if key != "num_gpu"}


def trained(args: argparse.Namespace, folder: Path, opt: dict, label: str) -> list[list[float]]:
    """PSNR and SSIM of the faces after the training in a folder."""
    kept = folder / "measured.json"
    if kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if _of_the_training(found["options"]) != _of_the_training(json.loads(json.dumps(opt, default=str))):
            sys.exit(f"{folder} is of a run with other options; give the same, or another --out")
        if found.get("faces") == args.faces:
            return found["values"]
    folder.mkdir(parents=True, exist_ok=True)
    log = run({**opt, "val": None}, folder, "run")  # a validation of all faces would take longer than some of the trainings
    net = build_network(opt["network_g"]).eval()
    net.load_state_dict(read_state_dict(str(log.parent / "models" / "net_g_latest.pth"), "params"))
    values = evaluate(net, open_set(args.val, label, [SCALE], args.faces), bool(opt["train"].get("true_parsing")))
    disk.write_text(kept, json.dumps({"options": opt, "faces": args.faces, "values": values}, default=str))
    return values


def evaluate(net: torch.nn.Module, test_set: TestSet, true_parsing: bool = False) -> list[list[float]]:
    protocol, values = protocols.get("dic"), []
    for key in tqdm(test_set.keys, desc=test_set.name, unit="face"):
        gt, run_net = test_set.hr(key), net
        if true_parsing:
            skin = skin_target(torch.from_numpy(test_set.labels(key))[None])[0].expand(-1, PARSING_CHANNELS, -1, -1)
            run_net = functools.partial(net, parsing=skin)
        sr = TorchRunner(test_set.name, SCALE, run_net).run([test_set.lr(key, SCALE, gt)], [key])[0].sr
        values.append([protocol.psnr(sr, gt, SCALE), protocol.ssim(sr, gt, SCALE)])
    return values


def with_error(values: np.ndarray, digits: int) -> str:
    """Mean over seeds of values (seeds,) with its standard error."""
    error = f" ±{statistics.stdev(values) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{error}"


def rows(found: dict[str, np.ndarray]) -> list[list[str]]:
    """One row an experiment that has been measured, ``found[experiment]``: (seeds, faces, 2)."""
    text, best = [], max(psnr for _, (psnr, _) in TABLE_3.values())
    for experiment, values in found.items():
        modules, paper = TABLE_3[experiment[0]]
        cells = [experiment, *("✓" if on else "" for on in modules), str(len(values))]
        cells += [with_error(values[..., 0].mean(1), 2), with_error(values[..., 1].mean(1), 4)]
        for other in ("A", "H"):
            cells.append("" if other == experiment or other not in found else difference(values, found[other]))
        known = experiment in TABLE_3
        text.append([*cells, *((f"*{paper[0]:.2f}*", f"*{paper[0] - best:+.2f}*") if known else ("–", "–"))])
    return text


def peak_rows(found: dict[int, tuple[np.ndarray, list[dict]]]) -> list[list[str]]:
    """One row a height, ``found[peak]``: values (seeds, faces, 2), and the plan of each seed."""
    lowest = found[min(found)][0]
    text = []
    for peak, (values, plans) in sorted(found.items()):
        seconds, iterations = (statistics.mean(plan[key] for plan in plans) for key in ("seconds", "iterations"))
        cells = [str(peak), f"{seconds:.2f}", f"{round(iterations * plans[0]['asked']['batch']):,}"]
        cells += [with_error(values[..., 0].mean(1), 2), with_error(values[..., 1].mean(1), 4)]
        text.append([*cells, "" if values is lowest else difference(values, lowest)])
    return text


def difference(values: np.ndarray, other: np.ndarray) -> str:
    """dB to another experiment, over the seeds that both have."""
    seeds = min(len(values), len(other))
    by_face = (values[:seeds, :, 0] - other[:seeds, :, 0]).mean(0)
    found = stats.intervals(by_face[:, None])[0]
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def about(args: argparse.Namespace, values: np.ndarray, opt: dict) -> dict:
    """What both pages say of the runs."""
    return {
        "command": shlex.join(["python", "scripts/zoo/ablation.py", *sys.argv[1:]]), "data": training_set(opt["datasets"]["train"]),
        "rate": f"{args.optimizer} {args.lr or RATES[args.optimizer]:g}", "batch": args.batch,
        "precision": opt["train"]["precision"],
        "faces": len(values[0]), "val": Path(args.val).name, "vgg": ", with" if args.vgg else ", without",
    }  # fmt: skip


def page(args: argparse.Namespace, found: dict[str, np.ndarray], opt: dict) -> str:
    loss = opt["train"]["wnet_opt"]
    named = {key: value for key, value in opt["network_g"].items() if key in ("num_feat", "peak")}
    named |= {key: loss[key] for key in ("pixel_criterion", "parsing_weight", "key_weight") if key in loss}
    known = about(args, next(iter(found.values())), opt)
    form = ", ".join(f"`{key}: {value}`" for key, value in named.items()) + known["vgg"] + " VGG terms"
    text = INTRODUCTION.format(seeds=len(args.seeds), images=args.images, form=form, **known)
    header = ["experiment", "Parsing Block", "LPF", "SCAB", "seeds", "PSNR, dB", "SSIM", "to A, dB", "to H, dB"]
    text += table([*header, "*paper, dB*", "*to H*"], rows(found), left=4)
    missing = [name for name in EXPERIMENTS if name not in found]
    text += f"\n\nNot yet measured: {'; '.join(missing)}.\n" if missing else "\n"
    return text + conclusions(args)


def pyramids_page(args: argparse.Namespace, found: dict[int, tuple[np.ndarray, list[dict]]], opt: dict) -> str:
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    text = PYRAMIDS.format(
        minutes=args.minutes, threads=threads, seeds=" ".join(map(str, args.seeds)), num_feat=opt["network_g"].get("num_feat", 64),
        **about(args, found[min(found)][0], opt),
    )  # fmt: skip
    header = ["peak", "s an iteration", "images", "PSNR, dB", "SSIM", f"to peak {min(found)}, dB"]
    return text + table(header, peak_rows(found), left=1) + "\n" + conclusions(args)


def conclusions(args: argparse.Namespace) -> str:
    """What we wrote below the table, kept when the page is written again."""
    if not args.page.exists():
        return ""
    _, mark, rest = args.page.read_text(encoding="utf-8").partition("\n## What holds")
    return mark + rest


def compare_modules(args: argparse.Namespace) -> None:
    found: dict[str, list] = {}
    for seed in args.seeds:  # a seed of all before the next: comparable whenever it is stopped
        for experiment in args.experiments:
            found.setdefault(experiment, []).append(measure(args, experiment, seed))
            done = {name: np.array(found[name]) for name in EXPERIMENTS if name in found}
            disk.write_text(args.page, page(args, done, planned(args, "H", seed)))


def compare_pyramids(args: argparse.Namespace) -> None:
    found: dict[int, tuple[list, list]] = {}
    for seed in args.seeds:
        for peak in PEAKS:
            for kept, new in zip(found.setdefault(peak, ([], [])), measure_peak(args, peak, seed)):
                kept.append(new)
            done = {height: (np.array(values), plans) for height, (values, plans) in found.items()}
            opt = planned(argparse.Namespace(**{**vars(args), "images": 10 * args.batch}), "H", seed)
            disk.write_text(args.page, pyramids_page(args, done, opt))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--images", type=int, help="that each run sees")
    amount.add_argument("--minutes", type=float, help="that each run takes: pyramids of all heights instead of the experiments")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--experiments", nargs="+", default=EXPERIMENTS, choices=EXPERIMENTS, metavar="E", help="(default: all)")
    parser.add_argument("--data", nargs="+", default=["datasets/celeba_II/train"], metavar="SET")
    parser.add_argument("--val", default="datasets/celeba_II/val", metavar="SET")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--faces", type=int, metavar="N", help="first of --val (default: all; a peak of 8 takes seconds for one)")
    parser.add_argument("--lr", type=float, help="(default: 2e-3 with Muon, 5e-4 with Adam)")
    parser.add_argument("--optimizer", choices=RATES, default="Adam")
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="(default: the faster one on this machine)")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--vgg", metavar="WEIGHTS", help="with the VGG terms of equation 26, e.g. vgg19-normalised")
    parser.add_argument("--network-option", nargs="+", type=key_value, default=[], metavar="KEY=VALUE", help="e.g. peak=1")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY:KEY=VALUE", help="as for `basicsr train`, in all runs")
    parser.add_argument("--out", type=Path, default=Path("ablation"), help="folder of the runs (default: ablation)")
    parser.add_argument("--page", type=Path, help="(default: docs/results/ablation.md, or docs/results/pyramids.md)")
    args = parser.parse_args()
    args.page = args.page or ROOT / "docs" / "results" / ("pyramids.md" if args.minutes else "ablation.md")
    args.validations, args.accumulation = 1, 1
    try:
        args.data, args.val = [find_set(path) for path in args.data], find_set(args.val)
        if args.minutes is not None and args.minutes <= 0:
            sys.exit(f"--minutes {args.minutes:g}: must be above 0")
        if any(entry.startswith("train:wnet_opt:vgg=") for entry in args.force_yml):
            sys.exit("--force_yml does not change train:wnet_opt:vgg here; give --vgg")
        if args.images is not None and args.images < FEWEST * args.batch:
            sys.exit(f"--images {args.images}: that is less than {FEWEST} iterations of {args.batch}")
        compare_pyramids(args) if args.minutes else compare_modules(args)
    except UsageError as error:
        sys.exit(str(error))
    print(args.page)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
