"""Tries option files on a few photos through the real command: each one trains, validates, saves, and is resumed.

    wnet prepare --images photos --labels maps --landmarks --holdout 4 --out datasets/twenty
    python scripts/bench/try_options.py --set datasets/twenty --options options/baselines/*.yml

Every file runs as it is, at full width, for a few iterations (--iterations, 20), two of them after a resume; only the data, the
length and the loader's workers are changed, and losses that start late start at once. The results are kept in OUT/results.json:
the same command continues where it was interrupted, and repeats what failed. Needs about 2 GB of disk, given back file by file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import sys
import time
from pathlib import Path

from wnet_arch import disk, options
from wnet_arch.cli import basicsr
from wnet_arch.cli.common import run_script
from wnet_arch.weights.hashing import sha256_file

RESUMED = 2  # iterations that are left to the resumed run
#: SISN has batch norm of global averages, which one image alone cannot give.
SMALLEST_BATCH = {"SISN": 2}


def changes(opt: dict, root: Path, batch: int, total: int) -> list[str]:
    """``--force_yml`` entries: ``total`` iterations on the set at ``root``, then a checkpoint and a validation."""
    batch = max(batch, SMALLEST_BATCH.get(opt["network_g"]["type"], 1))
    start = opt["train"].get("start_iters") or {}
    return [
        f"datasets:train:dataroot={root / 'train'}",
        f"datasets:val:dataroot={root / 'val'}",
        f"datasets:train:batch_size_per_gpu={batch}",
        "datasets:train:num_worker_per_gpu=0",
        "datasets:train:persistent_workers=false",
        f"train:total_iter={total}",
        f"val:val_freq={total + 1}",  # the framework validates at the end by itself
        "val:pbar=false",
        f"logger:save_checkpoint_freq={total}",
        "logger:print_freq=1",
        "logger:use_tb_logger=false",
        *(f"train:start_iters:{stage}=1" for stage in start),
    ]


def run(file: Path, entries: list[str], folder: Path, resume: bool) -> tuple[int, str]:
    """Runs ``basicsr train`` in ``folder``; returns exit code and all that it printed.

    A forked process calls the command's own main function: the same as the command, without importing PyTorch 68 times.
    """
    arguments = ["train", "-opt", str(file), *["--auto_resume"] * resume, "--force_yml", *entries]
    log = folder / "run.log"
    process = multiprocessing.get_context("fork").Process(target=command, args=(arguments, folder, log))
    process.start()
    process.join()
    return process.exitcode, log.read_text(encoding="utf-8", errors="replace")


def command(arguments: list[str], folder: Path, log: Path) -> None:
    """The body of the forked process: all output, that of C libraries too, goes to the log."""
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    sys.argv = ["basicsr", *arguments]
    basicsr.main()


def try_file(file: Path, root: Path, folder: Path, batch: int, iterations: int) -> dict:
    """Trains, resumes and checks one file. Returns ``ok``, ``message`` (PSNR at the end, or what went wrong), ``seconds``."""
    opt = options.load(str(file))
    experiment = folder / "experiments" / opt["name"]
    shutil.rmtree(experiment, ignore_errors=True)  # of an interrupted attempt
    start = time.perf_counter()
    log = ""
    for total, resume in ((iterations - RESUMED, False), (iterations, True)):
        code, text = run(file, changes(opt, root, batch, total), folder, resume)
        log += text
        problem = find_problem(code, text, iterations - RESUMED if resume else None)
        if problem:
            break
    (folder / f"{file.stem}.log").write_text(log, encoding="utf-8")
    shutil.rmtree(experiment, ignore_errors=True)
    message = problem or "PSNR " + re.findall(r"# psnr: (\S+)", log)[-1]
    return {"ok": not problem, "message": message, "seconds": round(time.perf_counter() - start, 1)}


def find_problem(code: int, text: str, resumed_from: int | None) -> str | None:
    """Why a run does not count, in one line; None if it trained, with finite losses, validated and, if asked to, resumed."""
    if code:
        return f"exit code {code}: {(text.strip().splitlines() or ['no output'])[-1][:200]}"
    if re.search(r"\bl_\w+: (nan|-?inf)", text):
        return "a loss is not finite"
    if "# psnr:" not in text:
        return "no validation"
    if re.search(r"# \w+: (nan|-?inf)", text):
        return "a metric is not finite"
    if resumed_from is not None and f"iter: {resumed_from}." not in text:
        return "did not resume"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", required=True, type=Path, metavar="SET", help="set made with --holdout: SET/train, SET/val")
    parser.add_argument("--options", required=True, nargs="+", type=Path, metavar="FILE", help="option files, tried in this order")
    parser.add_argument("--out", type=Path, default=Path("tried"), help="folder for results and logs (default: tried)")
    parser.add_argument("--iterations", type=int, default=20, help="in all, at least 4 (default: 20)")
    parser.add_argument("--batch", type=int, default=1, help="images in a batch (default: 1)")
    args = parser.parse_args()
    missing = [path for path in (args.set / "train", args.set / "val", *args.options) if not path.exists()]
    if missing:
        parser.error(f"there is no {missing[0]}")
    if args.iterations < 2 * RESUMED or args.batch < 1:
        parser.error(f"--iterations: at least {2 * RESUMED}; --batch: at least 1")
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for file in args.options:
        tried = {"set": str(args.set.resolve()), "iterations": args.iterations, "batch": args.batch, "file": sha256_file(file)}
        known = results.get(file.stem, {})
        if not known.get("ok") or known.get("tried") != tried:
            result = try_file(file.resolve(), args.set.resolve(), args.out, args.batch, args.iterations)
            results[file.stem] = {**result, "tried": tried}
            disk.write_text(path, json.dumps(results, indent=1))
        result = results[file.stem]
        print(f"{file.stem:16}{'ok' if result['ok'] else 'FAILED':8}{result['seconds']:8.1f} s  {result['message']}", flush=True)
    good = sum(results[file.stem]["ok"] for file in args.options)
    print(f"{good} of {len(args.options)} files trained {args.iterations} iterations, validated and resumed")
    return 0 if good == len(args.options) else 1


if __name__ == "__main__":
    sys.exit(run_script(main))
