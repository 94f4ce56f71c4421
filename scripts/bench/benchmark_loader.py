"""Samples a second of our data set, and of BasicSR's ``PairedImageDataset`` on the same images in PNG folders and in LMDB.

    python scripts/bench/benchmark_loader.py --set datasets/celeba_val

Both are written from the set to a temporary place. The framework's gives LR and HR, ours the parsing map as well. All
take turns in every round, and the median counts: the data set alone, by the processor time of one thread, and a loader with
one worker that makes batches, by the wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

from wnet_arch import disk
from wnet_arch.cli.common import run_script
from wnet_arch.data.face_lmdb import GrowingLMDB, LMDBReader, write_meta_info


def write_copies(lmdb: Path, folder: Path, count: int) -> None:
    """The first images of an LMDB as PNG files, and as an LMDB of their own: one process cannot open a file of LMDB twice."""
    plain = folder / lmdb.stem
    plain.mkdir()
    reader = LMDBReader(lmdb)
    keys = reader.keys[:count]
    for key in keys:
        (plain / f"{key}.png").write_bytes(reader.get(key))
    copy = GrowingLMDB(folder / lmdb.name)
    copy.write((key, reader.get(key)) for key in keys)
    copy.close()
    write_meta_info(folder / lmdb.name, keys, *cv2.imread(str(plain / f"{keys[0]}.png")).shape)


def data_sets(root: Path, scale: int, folder: Path, count: int) -> dict[str, torch.utils.data.Dataset]:
    from basicsr.data import build_dataset

    for kind in ("gt", f"lq_x{scale}"):
        write_copies(root / f"{kind}.lmdb", folder, count)
    side = cv2.imread(str(next((folder / "gt").iterdir()))).shape[0]
    common = {"name": "timed", "phase": "train", "scale": scale, "use_hflip": True}
    pair = {**common, "type": "PairedImageDataset", "use_rot": False, "gt_size": side, "filename_tmpl": "{}"}
    on_disk = {"dataroot_gt": str(folder / "gt"), "dataroot_lq": str(folder / f"lq_x{scale}"), "io_backend": {"type": "disk"}}
    in_lmdb = {
        "dataroot_gt": str(folder / "gt.lmdb"),
        "dataroot_lq": str(folder / f"lq_x{scale}.lmdb"),
        "io_backend": {"type": "lmdb"},
    }
    ours = {"type": "PairedFaceParsingDataset", "dataroot": str(root)}
    return {
        "PairedImageDataset, PNG folders": build_dataset({**pair, **on_disk}),
        "PairedImageDataset, LMDB": build_dataset({**pair, **in_lmdb}),
        "PairedFaceParsingDataset, set": build_dataset({**common, **ours}),
        "PairedFaceParsingDataset, cache": build_dataset({**common, **ours, "cache": True}),
    }


def alone(dataset, count: int) -> Callable[[], float]:
    """Samples a second of processor time, without a loader."""

    def run() -> float:
        start = time.thread_time()
        for index in range(count):
            dataset[index]
        return count / (time.thread_time() - start)

    return run


def loaded(dataset, count: int, batch: int) -> Callable[[], float]:
    """Samples a second from a loader with one worker, which is running already."""
    subset = torch.utils.data.Subset(dataset, range(count))
    loader = torch.utils.data.DataLoader(subset, batch, num_workers=1, persistent_workers=True)

    def run() -> float:
        start = time.perf_counter()
        for _ in loader:
            pass
        return count / (time.perf_counter() - start)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--set", required=True, type=Path, help="made by wnet prepare")
    parser.add_argument("--scale", type=int, default=8, choices=(4, 8))
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sets = data_sets(args.set, args.scale, Path(folder), args.images)
        count = min(args.images, *map(len, sets.values()))
        ways = {"alone": {name: alone(dataset, count) for name, dataset in sets.items()}}
        ways["one worker"] = {name: loaded(dataset, count, args.batch) for name, dataset in sets.items()}
        found = {way: {name: [] for name in sets} for way in ways}
        for round_ in range(args.rounds + 1):
            for way, runs in ways.items():
                for name, run in runs.items():
                    rate = run()
                    if round_:
                        found[way][name].append(rate)
    rates = {way: {name: statistics.median(values) for name, values in by_name.items()} for way, by_name in found.items()}
    print(f"{count} images x{args.scale}, samples a second, median of {args.rounds}; load average {os.getloadavg()[0]:.1f}")
    print(f"{'':34}{'alone':>8}{'':9}{'one worker':>12}")
    for name in sets:
        columns = [(rates[way][name], rates[way][name] / next(iter(rates[way].values()))) for way in ways]
        print(f"{name:34}" + "".join(f"{rate:>10.0f}{ratio:>6.2f}x" for rate, ratio in columns))
    if args.json:
        disk.write_text(args.json, json.dumps(rates, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
