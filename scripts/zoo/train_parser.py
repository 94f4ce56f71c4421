"""Trains the face parser that ships with the package, and prints its table of IoU.

    python scripts/zoo/train_parser.py --root celebamask --out parser        # images/*.jpg and labels/*.png; continues by itself
    python scripts/zoo/train_parser.py --root celebamask --evaluate wnet_arch/weights/face_parser.safetensors

The last 500 names are held out: never trained on, and what the table is measured on. Photos and maps are learnt at many sizes,
angles and places, blurred, reduced and compressed, so that the parser also works on crops that no one has aligned.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from wnet_arch.cli.common import run_script
from wnet_arch.faces import labels
from wnet_arch.faces.parser_net import ParserNet
from wnet_arch.faces.parsing import create_parser
from wnet_arch.weights import pth, seals

SIZE = 128
HELD_OUT = 500
#: What the mean is taken over: the classes that guide the network and its component losses.
SCORED = {
    "skin": (labels.SKIN,), "nose": (labels.NOSE,), "eyes": (labels.L_EYE, labels.R_EYE),
    "brows": (labels.L_BROW, labels.R_BROW), "mouth": (labels.MOUTH,), "lips": (labels.U_LIP, labels.L_LIP),
}  # fmt: skip


class MaskedFaces(Dataset):
    """Photos with maps, as uint8 in memory. Each item is drawn anew from ``(seed, step)``, so a continued run sees what an
    unbroken one would have seen."""

    def __init__(self, photos: np.ndarray, maps: np.ndarray, draws: int, seed: int):
        self.photos, self.maps, self.draws, self.seed = photos, maps, draws, seed

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, draw: int) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, place = divmod(draw, len(self.photos))
        index = np.random.default_rng((self.seed, epoch)).permutation(len(self.photos))[place]
        photo, classes = augment(self.photos[index], self.maps[index], np.random.default_rng((self.seed, 1, draw)))
        return torch.from_numpy(photo).permute(2, 0, 1).float() / 255, torch.from_numpy(classes).long()


def augment(photo: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One training pair, uint8 (128, 128, 3) and (128, 128); 255 where the photo shows nothing."""
    if rng.random() < 0.5:
        photo, classes = photo[:, ::-1], labels.flip(classes)
    side = photo.shape[0]
    scale = SIZE / side * math.exp(rng.normal(0, 0.15))
    turn = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), rng.normal(0, 12), scale)
    turn[:, 2] += (SIZE - side) / 2 + rng.normal(0, 0.05 * SIZE, 2)
    photo = cv2.warpAffine(photo, turn, (SIZE, SIZE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    classes = cv2.warpAffine(classes, turn, (SIZE, SIZE), flags=cv2.INTER_NEAREST, borderValue=labels.UNKNOWN)
    return degrade(recolour(photo, rng), rng), classes


def recolour(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, tint and, at times, no colour at all."""
    result = photo.astype(np.float32)
    if rng.random() < 0.1:
        result = np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, 2).astype(np.float32)
    gain = math.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.04, 3)).astype(np.float32)
    mean = result.mean()
    return np.clip((result - mean) * gain + mean + rng.normal(0, 15), 0, 255).astype(np.uint8)


def degrade(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the photos as they are; the others blurred, reduced to 16 to 96 pixels, or compressed."""
    kind = rng.random()
    if kind < 0.15:
        return cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.4, 3))
    if kind < 0.40:
        small = int(rng.choice((16, 24, 32, 48, 64, 96)))
        reduced = cv2.resize(photo, (small, small), interpolation=cv2.INTER_AREA)
        return cv2.resize(reduced, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    if kind < 0.5:
        _, packed = cv2.imencode(".jpg", photo, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))))
        return cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return photo


def read_pairs(root: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names in order, photos (N, S, S, 3) and maps (N, S, S) of a CelebAMask folder."""
    names = sorted(path.stem for path in (root / "images").glob("*.jpg"))
    if len(names) <= HELD_OUT:
        raise SystemExit(f"{root}/images has {len(names)} photos: more than {HELD_OUT} are needed")
    photos = [np.asarray(Image.open(root / "images" / f"{n}.jpg").convert("RGB")) for n in tqdm(names, unit="photo")]
    maps = [labels.check(np.asarray(Image.open(root / "labels" / f"{n}.png")), n) for n in names]
    return names, np.stack(photos), np.stack(maps)


def loss_of(scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Cross entropy, and for the scored classes the soft Dice of the batch, which small classes need."""
    known = (classes != labels.UNKNOWN).unsqueeze(1)
    small = [c for group in SCORED.values() for c in group]
    chance = (scores.softmax(1) * known)[:, small]
    truth = torch.stack([classes == c for c in small], 1).float()
    overlap = 2 * (chance * truth).sum((0, 2, 3)) + 1
    dice = 1 - overlap / (chance.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return F.cross_entropy(scores, classes, ignore_index=labels.UNKNOWN) + dice.mean()


@torch.no_grad()
def iou_table(net: torch.nn.Module, photos: np.ndarray, maps: np.ndarray) -> dict[str, float]:
    """IoU over all pixels of all faces: a value for each class, each scored group (its classes' mean) and their mean.

    Photos are reduced to 128x128 by PIL's bicubic, maps by nearest neighbour, as `wnet prepare` does.
    """
    net.eval()
    counts = np.zeros((len(labels.NAMES), len(labels.NAMES)), np.int64)
    for start in range(0, len(photos), 25):
        chunk = slice(start, start + 25)
        small = [np.asarray(Image.fromarray(p).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for p in photos[chunk]]
        truth = [np.asarray(Image.fromarray(m).resize((SIZE, SIZE), Image.Resampling.NEAREST)) for m in maps[chunk]]
        found = net(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255).argmax(1).numpy()
        counts += np.bincount(np.stack(truth).astype(int).ravel() * 19 + found.ravel(), minlength=361).reshape(19, 19)
    hit = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hit
    table = {name: float(h / u) if u else float("nan") for name, h, u in zip(labels.NAMES, hit, union)}
    groups = {f"[{name}]": float(np.mean([table[labels.NAMES[c]] for c in cs])) for name, cs in SCORED.items()}
    return {**table, **groups, "[mean]": float(np.mean(list(groups.values())))}


def print_table(table: dict[str, float]) -> None:
    for name, value in table.items():
        print(f"{name:<12}{value:8.4f}")


@torch.no_grad()
def follow(averages: list[torch.Tensor], current: list[torch.Tensor], count: int) -> None:
    """Moving average, quick at first: a mean over weights and BatchNorm statistics of the untrained network is of no use."""
    decay = min(0.998, (1 + int(count)) / (10 + int(count)))
    for average, value in zip(averages, current):
        if average.is_floating_point():
            average.lerp_(value.to(average), 1 - decay)
        else:
            average.copy_(value)


class Run:
    """A training run in a folder: state, curve, best weights. Written beside and renamed, so never half-written."""

    def __init__(self, out: Path, iterations: int, lr: float, seed: int):
        self.out, self.iterations = out, iterations
        torch.manual_seed(seed)
        self.net = ParserNet().to(memory_format=torch.channels_last)
        self.ema = torch.optim.swa_utils.AveragedModel(self.net, multi_avg_fn=follow, use_buffers=True)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=lr, weight_decay=0.01)
        self.lr, self.step, self.curve = lr, 0, []
        out.mkdir(parents=True, exist_ok=True)
        if (out / "state.pth").exists():
            state = pth.load(out / "state.pth")
            for name in ("net", "ema", "optimizer"):
                getattr(self, name).load_state_dict(state[name])
            self.step, self.curve = state["step"], state["curve"]

    def learning_rate(self) -> float:
        """Up over the first twentieth, level, and down to nothing over the last two fifths."""
        rest = self.iterations - self.step
        return self.lr * min(1, (self.step + 1) / (0.05 * self.iterations), rest / (0.4 * self.iterations))

    def train_step(self, photos: torch.Tensor, classes: torch.Tensor) -> float:
        self.net.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        with torch.autocast("cpu", torch.bfloat16):
            scores = self.net(photos.contiguous(memory_format=torch.channels_last))
        loss = loss_of(scores.float(), classes)
        if not torch.isfinite(loss):
            raise SystemExit(f"loss is not finite at iteration {self.step}")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.ema.update_parameters(self.net)
        self.step += 1
        return loss.item()

    def save(self) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("net", "ema", "optimizer")}
        torch.save({**parts, "step": self.step, "curve": self.curve}, self.out / "state.pth.part")
        os.replace(self.out / "state.pth.part", self.out / "state.pth")
        half = {k: v.half() if v.is_floating_point() else v for k, v in self.ema.module.state_dict().items()}
        half = {k: v.contiguous() for k, v in half.items() if not k.endswith("num_batches_tracked")}
        seals.write_tensors(half, self.out / "face_parser.safetensors", {"architecture": "ParserNet", "iterations": str(self.step)})
        self._draw_curve()

    def _draw_curve(self) -> None:
        if not self.curve:
            return
        with open(self.out / "curve.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.curve[0]))
            writer.writeheader()
            writer.writerows(self.curve)
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, left = plt.subplots(figsize=(7, 4))
        steps = [row["step"] for row in self.curve]
        left.plot(steps, [row["loss"] for row in self.curve], color="tab:grey", label="training loss")
        left.set(xlabel="iteration", ylabel="loss")
        right = left.twinx()
        right.plot(steps, [row["[mean]"] for row in self.curve], color="tab:blue", label="mean IoU, held-out faces")
        right.set_ylabel("mean IoU")
        figure.legend(loc="center", bbox_to_anchor=(0.6, 0.45))
        figure.savefig(self.out / "curve.png", dpi=110, bbox_inches="tight")
        plt.close(figure)


def train(args: argparse.Namespace) -> None:
    _, photos, maps = read_pairs(args.root)
    held_out = photos[-HELD_OUT:], maps[-HELD_OUT:]
    run = Run(args.out, args.iterations, args.lr, args.seed)
    batch, first = args.batch, run.step
    data = MaskedFaces(photos[:-HELD_OUT], maps[:-HELD_OUT], args.iterations * batch, args.seed)
    rest = range(first * batch, len(data))
    loader = DataLoader(torch.utils.data.Subset(data, rest), batch, num_workers=0)
    losses, bar, started = [], tqdm(total=args.iterations, initial=first, unit="it"), time.time()
    for batch_photos, classes in loader:
        losses.append(run.train_step(batch_photos, classes))
        bar.update()
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
        if run.step % args.every == 0 or run.step == args.iterations:
            table = iou_table(run.ema.module, *held_out)
            row = {"step": run.step, "loss": float(np.mean(losses)), **table}
            run.curve.append({name: round(value, 4) for name, value in row.items()})
            losses.clear()
            run.save()
            tqdm.write(json.dumps({k: v for k, v in run.curve[-1].items() if "[" in k or k in ("step", "loss")}))
    print_table(iou_table(run.ema.module, *held_out))
    print(f"{run.step - first} iterations in {(time.time() - started) / 60:.1f} min; weights: {args.out}/face_parser.safetensors")


def evaluate(args: argparse.Namespace) -> None:
    net = ParserNet()
    net.load_state_dict({k: v.float() for k, v in load_file(args.evaluate).items()}, strict=False)
    _, photos, maps = read_pairs(args.root)
    table = iou_table(net.to(memory_format=torch.channels_last), photos[-HELD_OUT:], maps[-HELD_OUT:])
    print(f"{args.evaluate}: IoU on the last {HELD_OUT} names of {args.root}, {SIZE}x{SIZE}")
    print_table(table)
    parser = create_parser("compact", path=args.evaluate)
    small = [np.asarray(Image.fromarray(p).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for p in photos[-HELD_OUT:]]
    parser.parse(small[0])  # loads the network
    started = time.perf_counter()
    for face in small:
        parser.parse(face)
    print(f"{HELD_OUT / (time.perf_counter() - started):.0f} faces a second, one by one, one thread")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with images/*.jpg and labels/*.png")
    parser.add_argument("--out", type=Path, default=Path("parser"), help="folder of the run (default: %(default)s)")
    parser.add_argument("--evaluate", type=Path, metavar="FILE", help="print the table of these weights, train nothing")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--every", type=int, default=250, help="iterations between two evaluations (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    evaluate(args) if args.evaluate else train(args)


if __name__ == "__main__":
    sys.exit(run_script(main))
