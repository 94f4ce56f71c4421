"""Puts the weights of a finished training run into the repository: NAME.safetensors, and its entry in the manifest beside it.

    python scripts/zoo/ship_weights.py zoo/wnet_lite_x8/experiments/wnet_lite_x8 wnet_lite_x8 --set datasets/celeba_val

What `wnet restore` takes by itself ships with this package, in wnet_arch/weights: wnet_x8 and its other scales, and names of
W-Net's family with `real`, as wnet_lite_real_x8. All others go into baselines/wnet_fsr_zoo, the package wnet-fsr-zoo.

Takes the last weights or their moving average, whichever has the higher PSNR (protocol dic) on the first --faces faces of the
set, which are degraded if those of the training were: after few iterations the average still remembers the start, of some
networks more than of others; --which decides otherwise, as for networks that do not aim at PSNR. Matrices are stored in half
precision if that changes the PSNR by less than 0.01 dB, in single precision otherwise; vectors and statistics always in
single. --on NAME says that the training went on from a shipped network; if that is the one that it replaces, the card counts
the images of both. --blend 0.7 ships what lies between that network (0) and the trained one (1), weight by weight (network
interpolation, Wang et al. 2018, ESRGAN, section 3.4): much of what an adversarial training adds, with less of the patterns
that it draws. --residual 0.9 ships a network which adds 0.9 of what the trained one adds to the plainly enlarged face, by a
scaled last layer: a little less detail, and fewer faces that end worse than enlarged plainly.

--after RUN names an earlier run that the training went on from, as a high pyramid from a low one (grow_wnet.py): the card
counts its images and says what differed. --queue NAME: the list of trainings that it is from; model_zoo.py has a table for each.

What the model card needs goes into the file's metadata. scripts/zoo/model_zoo.py measures what ships and writes the cards.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from places import check_name, manifest_of

from wnet_arch import disk, options
from wnet_arch.archs.base import build_network, enlarge
from wnet_arch.cli.common import run_script
from wnet_arch.data.decoding import image_tensor
from wnet_arch.data.face_parsing_dataset import PairedFaceParsingDataset
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.float32 import true_float32
from wnet_arch.inference.provenance import training_set
from wnet_arch.inference.runners import check_device
from wnet_arch.inference.test_sets import open_set
from wnet_arch.metrics import protocols
from wnet_arch.weights import entries, metadata, seals, shipped
from wnet_arch.weights.checkpoint import read_state_dict
from wnet_arch.weights.hashing import sha256_file

#: dB that half precision may change.
HALF = 0.01
LAST, AVERAGE = "last weights", "moving average"
TERMS = "trained on CelebA and CelebAMask-HQ: non-commercial research only"


def finished(run: Path) -> tuple[dict, dict[str, dict]]:
    """The run's options; and the weights of its end by what they are."""
    files = sorted(run.glob("*.yml"))
    if len(files) != 1:
        sys.exit(f"{run} is not the folder of a training run: it holds {len(files)} option files, not one")
    opt = options.load(str(files[0]))
    total = opt["train"]["total_iter"]
    log = run / "log.jsonl"
    known = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    seen = [line.get("iter", 0) for line in known]
    opt["train"].update(next((found for found in map(settled, known) if found), {}))
    if max(seen, default=0) < total:
        sys.exit(f"{run} has done {max(seen, default=0)} of {total} iterations; let it end (the same command continues it)")
    file = str(run / "models" / "net_g_latest.pth")
    found = {LAST: read_state_dict(file, "params")}
    if opt["train"].get("ema_decay"):
        found[AVERAGE] = read_state_dict(file, "params_ema")
    return opt, found


def settled(line: dict) -> dict:
    """What `auto` in the options came to be, where a line of the log says so."""
    return {key: line[key] for key in ("precision", "channels_last") if key in line}


def halved(state: dict) -> dict:
    """Matrices and kernels in half precision; vectors, statistics and counters as they are."""
    return {name: value.half() if value.is_floating_point() and value.ndim > 1 else value for name, value in state.items()}


def explicit(block: dict) -> dict:
    """The block ``network_g`` with the network's defaults written out: they may change, what a file holds may not."""
    from basicsr.utils.registry import ARCH_REGISTRY

    parameters = inspect.signature(ARCH_REGISTRY.get(block["type"])).parameters.values()
    return {"type": block["type"], **{p.name: p.default for p in parameters if p.default is not p.empty}, **block}


def psnr(opt: dict, state: dict, faces, device: str = "cpu") -> float:
    """Mean PSNR, protocol dic, of a network with these weights."""
    net = build_network(opt["network_g"]).eval()
    net.load_state_dict(state)
    net.to(device)
    protocol, found = protocols.get("dic"), []
    for lq, gt in faces:
        with torch.inference_mode(), true_float32():
            sr = net(image_tensor(lq)[None].to(device)).clamp(0, 1)[0]
        found.append(protocol.psnr((sr * 255).round().byte().permute(1, 2, 0).cpu().numpy(), gt, opt["scale"]))
    return float(np.mean(found))


def pairs_of(root: str, count: int, opt: dict) -> list[tuple[np.ndarray, np.ndarray]]:
    """LR and HR faces of a set, uint8; degraded as the training's, where these were."""
    block = opt["datasets"]["train"].get(metadata.DEGRADATION)
    if block is None:
        faces = open_set(root, "set", [opt["scale"]], count)
        return [(faces.lr(key, opt["scale"]), faces.hr(key)) for key in faces.keys]
    data = PairedFaceParsingDataset({"dataroot": root, "scale": opt["scale"], "phase": "val", metadata.DEGRADATION: block})
    samples = [data[index] for index in range(min(count, len(data)))]
    return [tuple((s[kind].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8) for kind in ("lq", "gt")) for s in samples]


def facts(opt: dict, which: str, hardware: str) -> dict[str, str]:
    """The metadata: how to build the network, and what its card says of the training."""
    train, data = opt["train"], opt["datasets"]["train"]
    batch = data["batch_size_per_gpu"] * train.get("accumulation", 1)
    optimizer, schedule, decay = train["optim_g"], train["scheduler"], train.get("ema_decay")
    recipe = (
        f"{optimizer['type']} {optimizer['lr']:g}, {schedule['type']}, batches of {batch}, {train.get('precision', 'fp32')}, "
        f"{which}{f' ({decay})' if which == AVERAGE else ''}, gradients clipped to {train.get('grad_clip')}, "
        f"{'mirroring' if data.get('use_hflip') else 'no augmentation'}"
    )
    known = {
        "network_g": json.dumps(explicit(opt["network_g"])), "scale": opt["scale"], "training_set": training_set(data),
        "iterations": train["total_iter"], "seed": opt["manual_seed"], "images_seen": train["total_iter"] * batch, "recipe": recipe,
        "hardware": hardware, "torch": torch.__version__, "licence": "Apache-2.0", "terms": TERMS,
    }  # fmt: skip
    blocks = {key: json.dumps(data[key]) for key in (metadata.DEGRADATION, metadata.JITTER) if data.get(key) is not None}
    return {**{key: str(value) for key, value in known.items()}, **blocks}


def after(earlier: Path, known: dict[str, str]) -> dict[str, str]:
    """The metadata of a training in two parts: counts are sums, the recipe tells both."""
    before, _ = finished(earlier)
    first = facts(before, LAST, "")
    there, here = json.loads(first["network_g"]), json.loads(known["network_g"])
    changed = ", ".join(f"{key} {there[key]}" for key in there if there[key] != here[key]) or "the same network"
    parts = (f"with {changed}: {int(first['images_seen']):,} images, {first['recipe']}", f"then {int(known['images_seen']):,}")
    sums = {key: str(int(first[key]) + int(known[key])) for key in ("iterations", "images_seen")}
    data = {"training_set": training_set(before["datasets"]["train"])}
    if data["training_set"] != known["training_set"]:
        data["training_set"] += f", then {known['training_set']}"
    return {**known, **sums, **data, "recipe": f"{parts[0]}; {parts[1]}, {known['recipe']}"}


def continued(before: dict[str, str], known: dict[str, str]) -> dict[str, str]:
    """The metadata of weights that a training has gone on with, and that take the place of those it began with."""
    sums = {key: str(int(before[key]) + int(known[key])) for key in ("iterations", "images_seen")}
    both = {
        key: before[key] if before[key].split(", then ")[-1] == known[key] else f"{before[key]}, then {known[key]}"
        for key in ("training_set", "hardware")
    }
    first = before["recipe"] if "; then " in before["recipe"] else f"{int(before['images_seen']):,} images, {before['recipe']}"
    return {**known, **sums, **both, "recipe": f"{first}; then {int(known['images_seen']):,}, {known['recipe']}"}


def enter(name: str, file: Path) -> None:
    """Adds the file to the manifest beside it, or renews its entry; this package's manifest learns the names of the other's."""
    block = (
        f'[[files]]\nname = "{name}"\npurpose = "face super-resolution; see {name}.md"\nfile = "{file.name}"\n'
        f'sha256 = "{sha256_file(file)}"\nsize = {file.stat().st_size}\nlicence = "Apache-2.0"\nterms = "{TERMS}"\n\n'
        '[[files.sources]]\nkind = "package"\n'
    )
    manifest = manifest_of(name)
    text = manifest.read_text(encoding="utf-8")
    old = re.search(rf'\[\[files\]\]\nname = "{name}"\n.*?kind = "package"\n', text, re.DOTALL)
    text = text.replace(old[0], block) if old else f"{text.rstrip()}\n\n{block}"
    disk.write_text(manifest, text)
    entries.load.cache_clear()
    if manifest != entries.MANIFEST:
        names = ", ".join(f'"{known}"' for known in sorted(entries.load(manifest, "baselines").files))
        text = entries.MANIFEST.read_text(encoding="utf-8")
        table = re.search(r"^\[\[elsewhere\]\]\n(?:\w.*\n)*?names = (\[.*\])$", text, re.MULTILINE)
        disk.write_text(entries.MANIFEST, f"{text[: table.start(1)]}[{names}]{text[table.end(1) :]}")
        entries.load.cache_clear()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="experiments/NAME of a finished run")
    parser.add_argument("name", metavar="NAME", help="NETWORK_xSCALE, e.g. wnet_lite_x8")
    parser.add_argument("--set", required=True, metavar="SET", help="faces that decide about half precision")
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument("--which", choices=("better", "last", "average"), default="better", help="weights (default: better)")
    parser.add_argument("--on", metavar="NAME", help="shipped network that the training went on from")
    parser.add_argument("--blend", type=float, metavar="X", help="with --on: so far from that network to these weights, 0 to 1")
    parser.add_argument("--residual", type=float, metavar="X", help="X of what the network adds to the enlarged face, 0 to 1")
    parser.add_argument("--after", type=Path, metavar="RUN", help="experiments/NAME of the run whose weights it began with")
    parser.add_argument("--queue", metavar="NAME", help="list of trainings that it is from, by which model_zoo.py compares it")
    parser.add_argument("--replace", action="store_true", help="what ships under that name")
    parser.add_argument("--note", help="a sentence for the card: what it is for, or what a longer training would cost")
    parser.add_argument("--hardware", default="CPU", help="what it was trained on, for the card")
    parser.add_argument("--device", default="cpu", help="where PSNR is computed: cpu, cuda, cuda:1 (default: cpu)")
    args = parser.parse_args()
    try:
        check_device(args.device)
    except UsageError as error:
        sys.exit(str(error))
    if args.blend is not None and not (args.on and 0 < args.blend < 1):
        sys.exit("--blend X lies between 0 and 1, and needs the network it starts from: --on NAME")
    if args.residual is not None and not 0 < args.residual < 1:
        sys.exit("--residual X lies between 0 and 1")
    if args.on:
        check_base(args.on)
    opt, found = finished(args.run)
    if not re.fullmatch(rf"[a-z0-9_]+_x{opt['scale']}", args.name):
        sys.exit(f"'{args.name}' is no name for these weights: lower case, ending in _x{opt['scale']}")
    check_name(args.name, opt["network_g"]["type"])
    if not args.replace and args.name in entries.load(manifest_of(args.name), "repository").files:
        sys.exit(f"{args.name} ships already: give these weights another name, or --replace it")
    pairs = pairs_of(args.set, args.faces, opt)
    asked = {"last": LAST, "average": AVERAGE}.get(args.which)
    if asked and asked not in found:
        sys.exit(f"{args.run} has no {asked}: it was trained with ema_decay 0")
    values = {which: psnr(opt, state, pairs, args.device) for which, state in found.items() if which == (asked or which)}
    which = max(values, key=values.get)
    state = found[which]
    if args.blend is not None:
        state = blend(read_state_dict(args.on), state, args.blend)
        values[which] = psnr(opt, state, pairs, args.device)
        print(f"{which}, {args.blend:g} of the way from {args.on}: {values[which]:.4f} dB")
    if args.residual is not None:
        state = with_residual(opt, state, args.residual)
        values[which] = psnr(opt, state, pairs, args.device)
        print(f"{which}, {args.residual:g} of what it adds: {values[which]:.4f} dB")
    half = psnr(opt, halved(state), pairs, args.device)
    print(f"{args.name}, {len(pairs)} faces: {', '.join(f'{name} {value:.4f} dB' for name, value in values.items())}")
    print(f"{which} in half precision {half:.4f} dB")
    if abs(values[which] - half) < HALF:
        state = halved(state)
    known = facts(opt, which, args.hardware)
    if args.after:
        known = after(args.after, known)
    if args.queue:
        known[metadata.QUEUE] = args.queue
    if args.note:
        known["note"] = args.note
    if args.on == args.name:
        known = continued(metadata.texts(shipped.path(args.on)), known)
    elif args.on:
        known["recipe"] += f"; went on from {args.on}"
    if args.on:
        known["recipe"] += f"; weights {args.blend:g} of the way from there to the end" if args.blend is not None else ""
    if args.residual is not None:
        known["recipe"] += f"; what it adds to the enlarged face times {args.residual:g}"
    write(state, known, manifest_of(args.name).with_name(f"{args.name}.safetensors"), args.name)
    return 0


def check_base(base: str) -> None:
    """Ends the script where a network that the training went on from is not there."""
    try:
        shipped.path(base)
    except WeightsError as error:
        sys.exit(f"--on: {error}")


def blend(start: dict, end: dict, share: float) -> dict:
    """Between two networks; tensors that are the same stay so, bit for bit."""
    mixed = {}
    for key, value in end.items():
        same = not value.is_floating_point() or torch.equal(start[key].float(), value.float())
        mixed[key] = value if same else torch.lerp(start[key].float(), value.float(), share)
    return mixed


def with_residual(opt: dict, state: dict, share: float) -> dict:
    """A network that adds ``share`` of what it added to the enlarged face. Ends the script where its last layer cannot do that."""
    last = [name for name in state if re.search(r"(^|\.)to_rgb\.(weight|bias)$", name)]
    scaled = {name: value * share if name in last else value for name, value in state.items()}
    net, lq = build_network(opt["network_g"]).eval(), torch.rand(1, 3, 128 // opt["scale"], 128 // opt["scale"])
    plain, found = enlarge(lq, opt["scale"]), []
    for weights in (state, scaled):
        net.load_state_dict(weights)
        with torch.inference_mode():
            found.append(net(lq))
    if not torch.allclose(found[1], torch.lerp(plain, found[0], share), atol=1e-4):
        sys.exit(f"--residual: {opt['network_g']['type']} does not add to the enlarged face by a layer to_rgb, as WNetLite does")
    return scaled


def write(state: dict, facts_of_run: dict[str, str], file: Path, name: str) -> None:
    """Writes the file beside its place, renames it, and enters it."""
    beside = file.with_suffix(".part")
    beside.write_bytes(seals.pack_tensors(state, facts_of_run))
    seals.rename(beside, file)
    enter(name, file)
    print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    sys.exit(run_script(main))
