"""Trains option files in float32 and in bf16 (with channels_last), alike otherwise, from several seeds, and compares the results.

    python scripts/bench/compare_precision.py --options options/baselines/SPARNet_x8.yml options/wnet_x8.yml --iterations 200 \\
        --seeds 0 1 2 3 --force_yml datasets:train:dataroot=datasets/celeba_train train:optim_g:lr=5e-4 --only WNet network_g:peak=1

Each run goes through `basicsr train` and is validated at its end, in float32. Runs and logs are kept in OUT (default:
precision); the same command goes on where it was interrupted. Prints, and writes to OUT/table.md, the PSNR of both, the mean
difference over the seeds with its standard error, the scatter of float32 among seeds, and the seconds an iteration. Exit code 1
where a mean difference is more than 0.1 dB. Single pairs of short runs differ by more than that: rounding alone sends training
another way, as another seed does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from wnet_arch import options

FORMATS = ("fp32", "bf16")
LIMIT = 0.1  # dB


def train(file: Path, out: Path, precision: str, seed: int, iterations: int, entries: list[str]) -> dict:
    """Runs, or goes on with, one training. Returns ``psnr`` in dB and ``seconds`` an iteration, the median."""
    opt = options.load(str(file))
    log = out / f"{precision}_{seed}" / "experiments" / opt["name"] / "log.jsonl"
    result = read(log, iterations)
    if result is None:
        log.parents[2].mkdir(parents=True, exist_ok=True)
        entries = [
            *entries, f"manual_seed={seed}", f"train:precision={precision}",
            f"train:channels_last={str(precision == 'bf16').lower()}", f"train:total_iter={iterations}",
            f"val:val_freq={iterations}", "val:pbar=false", "logger:print_freq=1",
            "logger:save_checkpoint_freq=50", "logger:keep_last=1", "logger:use_tb_logger=false",
        ]  # fmt: skip
        command = [sys.executable, "-m", "wnet_arch.cli.basicsr", "train", "-opt", str(file.resolve()), "--auto_resume"]
        with open(log.parents[2] / f"{file.stem}.txt", "a", encoding="utf-8") as text:
            code = subprocess.run([*command, "--force_yml", *entries], cwd=log.parents[2], stdout=text, stderr=text).returncode
        result = read(log, iterations)
        if code or result is None:
            sys.exit(f"{file}, {precision}, seed {seed}: exit code {code}, see {text.name}")
    return result


def read(log: Path, iterations: int) -> dict | None:
    """The result of a run that has come to its end."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    psnr = [line["psnr"] for line in lines if "psnr" in line and line["iter"] == iterations]
    times = [line["time"] for line in lines if "time" in line]
    return {"psnr": psnr[-1], "seconds": statistics.median(times)} if psnr else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--options", required=True, nargs="+", type=Path, metavar="FILE", help="option files with a metric psnr")
    parser.add_argument("--iterations", type=int, default=200, help="of each run (default: 200)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3], metavar="N", help="(default: 0 1 2 3)")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY:KEY=VALUE", help="changes of all files")
    parser.add_argument(
        "--only",
        nargs="+",
        action="append",
        default=[],
        metavar=("NETWORK", "KEY:KEY=VALUE"),
        help="changes of one network",
    )
    parser.add_argument("--out", type=Path, default=Path("precision"), help="folder of runs and table (default: precision)")
    args = parser.parse_args()
    rows = ["| file | seed | float32, dB | bf16, dB | difference | float32, s | bf16, s |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    worst = 0.0
    for file in args.options:
        network = options.load(str(file))["network_g"]["type"]
        entries = [*args.force_yml, *(entry for name, *changes in args.only if name == network for entry in changes)]
        pairs = []
        for seed in args.seeds:
            full, half = (train(file, args.out.resolve(), precision, seed, args.iterations, entries) for precision in FORMATS)
            pairs.append((full["psnr"], half["psnr"]))
            rows.append(f"| {file.stem} | {seed} | {full['psnr']:.3f} | {half['psnr']:.3f} | {half['psnr'] - full['psnr']:+.3f} | "
                        f"{full['seconds']:.2f} | {half['seconds']:.2f} |")  # fmt: skip
            print(rows[-1], flush=True)
        difference, text = summary(pairs)
        worst = max(worst, abs(difference))
        rows.append(f"| {file.stem} | {len(pairs)} seeds | {text} | | |")
        print(rows[-1], flush=True)
    (args.out / "table.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"largest mean difference {worst:.3f} dB, {'within' if worst <= LIMIT else 'beyond'} {LIMIT} dB")
    return 0 if worst <= LIMIT else 1


def summary(pairs: list[tuple[float, float]]) -> tuple[float, str]:
    """The mean difference in dB; and the cells of both formats (± scatter) and of the difference (± standard error)."""
    spread = [statistics.stdev(column) if len(pairs) > 1 else float("nan") for column in zip(*pairs)]
    means = [statistics.mean(column) for column in zip(*pairs)]
    differences = [half - full for full, half in pairs]
    error = statistics.stdev(differences) / len(pairs) ** 0.5 if len(pairs) > 1 else float("nan")
    mean = statistics.mean(differences)
    return mean, " | ".join([*(f"{m:.3f} ±{s:.3f}" for m, s in zip(means, spread)), f"{mean:+.3f} ±{error:.3f}"])


if __name__ == "__main__":
    sys.exit(main())
