"""One trained network against bicubic enlargement, on the validation set and with the validators of its option file."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from basicsr.data import build_dataset
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from PIL import Image
from tqdm import tqdm

from wnet_arch import visuals
from wnet_arch.archs import create_network
from wnet_arch.archs.base import build_network
from wnet_arch.compat import quiet_logger
from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.faces import labels
from wnet_arch.inference.runners import TorchRunner
from wnet_arch.weights.checkpoint import load_into
from wnet_arch.words import counted


@dataclass
class ComparedFace:
    """One face: RGB uint8 images, its map where the set has one, and the metrics of each method by name."""

    name: str
    lq: np.ndarray
    gt: np.ndarray
    label: np.ndarray | None
    sr: dict[str, np.ndarray] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    parsing: np.ndarray | None = None


@dataclass
class Comparison:
    """What :func:`compare` found. ``protocol`` says how the metrics were computed."""

    network: str
    dataset: str
    scale: int
    protocol: str
    faces: list[ComparedFace]

    def mean(self, method: str, metric: str) -> float:
        """Mean of a metric over all faces, by the names of method and metric."""
        return float(np.mean([face.metrics[method][metric] for face in self.faces]))


def compare(opt: dict, weights: str, dataset: str = "val") -> Comparison:
    """Runs the network of an option file, and bicubic enlargement, over one of its data sets.

    Args:
        opt: options as read from the file.
        weights: the averaged weights are used where the file has them.
        dataset: name of the block in ``datasets``.

    Raises:
        UsageError, DataError, WeightsError: what is named there is missing or does not fit.
    """
    if dataset not in opt["datasets"]:
        raise UsageError(f"--dataset: the options have no datasets.{dataset}{did_you_mean(dataset, opt['datasets'])}")
    metrics = (opt.get("val") or {}).get("metrics") or {}
    if not metrics:
        raise UsageError("the options name no val.metrics to compare with")
    with quiet_logger():
        data = build_dataset(dict(copy.deepcopy(opt["datasets"][dataset]), phase="val", scale=opt["scale"]))
        net = build_network(opt["network_g"])
    load_into(net, weights, "params_ema")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = {"Bicubic": create_network("Bicubic", opt["scale"]), opt["network_g"]["type"]: net}
    methods = {name: TorchRunner(name, opt["scale"], net.eval().to(device), device) for name, net in found.items()}
    if "gt" not in data[0]:
        raise UsageError(f"--dataset: datasets.{dataset} has no HR faces to compare with")
    faces = [_compare_face(sample, methods, metrics) for sample in tqdm(data, desc="faces", leave=False)]
    return Comparison(opt["network_g"]["type"], opt["datasets"][dataset]["name"], opt["scale"], _protocol(metrics), faces)


def _compare_face(sample: dict, methods: dict[str, TorchRunner], metrics: dict) -> ComparedFace:
    lq, gt = (tensor2img(sample[key], rgb2bgr=False) for key in ("lq", "gt"))
    label = sample["parsing"].numpy() if "parsing" in sample else None
    face = ComparedFace(sample["gt_path"], lq, gt, label)
    for name, runner in methods.items():
        face.sr[name], skin = runner.run([lq], [face.name], skin=True)[0]
        if skin is not None:
            face.parsing = (skin.clip(0, 1) * 255).round().astype(np.uint8)
        pair = {"img": face.sr[name][..., ::-1], "img2": face.gt[..., ::-1]}  # the framework's metrics expect BGR
        face.metrics[name] = {metric: float(calculate_metric(pair, dict(block))) for metric, block in metrics.items()}
    return face


def _protocol(metrics: dict) -> str:
    parts = []
    for name, block in metrics.items():
        if block["type"] in ("calculate_psnr", "calculate_ssim"):
            channel = "Y of BT.601" if block.get("test_y_channel") else "RGB"
            parts.append(f"{name}: {block['type']}, {channel}, border {block.get('crop_border', 0)}")
        else:
            options = (f"{key} {value}" for key, value in block.items() if key not in ("type", "better"))
            parts.append(", ".join((f"{name}: {block['type']}", *options)))
    return "; ".join(parts)


def table(result: Comparison) -> str:
    """The means as text, with the protocol and the set they belong to."""
    metrics = list(result.faces[0].metrics[result.network])
    lines = [f"{result.dataset}, x{result.scale}, {counted(len(result.faces), 'face')} ({result.protocol})"]
    lines.append(f"{'':10}" + "".join(f"{metric.upper():>10}" for metric in metrics))
    for method in result.faces[0].sr:
        lines.append(f"{method:10}" + "".join(f"{result.mean(method, metric):10.4f}" for metric in metrics))
    for metric in metrics:
        better = sum(face.metrics[result.network][metric] > face.metrics["Bicubic"][metric] for face in result.faces)
        lines.append(f"{result.network} has the higher {metric.upper()} on {better} of {counted(len(result.faces), 'face')}")
    return "\n".join(lines)


def picture(result: Comparison, count: int) -> Image.Image:
    """A sheet of faces spread evenly over the set: LR, bicubic, network, HR, estimated and true skin map."""
    metric = next(iter(result.faces[0].metrics[result.network]))
    chosen = [result.faces[i] for i in np.linspace(0, len(result.faces) - 1, min(count, len(result.faces))).round().astype(int)]
    has_map = chosen[0].parsing is not None
    columns = ["LR", "Bicubic", result.network, "HR"] + ["estimated skin", "true skin"] * has_map
    rows, notes = [], []
    for face in chosen:
        rows.append([face.lq, face.sr["Bicubic"], face.sr[result.network], face.gt])
        if has_map:
            rows[-1] += [face.parsing, None if face.label is None else labels.skin_picture(face.label)]
        values = [f"{face.metrics[name][metric]:.2f} {name[:8]}" for name in ("Bicubic", result.network)]
        notes.append("\n".join([face.name[:14], metric.upper(), *values]))
    return visuals.sheet(columns, rows, notes)
