"""What one process of several does in tests/training/test_distributed.py: ``torchrun ... ranks.py SET OUT SCENARIO ...``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from wnet_arch.training import distributed

OPTIONS = {
    "name": "ranks", "scale": 8, "num_gpu": 0, "manual_seed": 0, "auto_resume": False,
    "path": {}, "val": {"val_freq": 1000, "save_img": False},
}  # fmt: skip
PSNR = {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": True, "better": "higher"}


def options(face_set: str, out: Path, model_type: str, network: dict, **train) -> dict:
    dist = distributed.is_joined()
    paths = {name: str(out) for name in ("models", "training_states", "experiments_root", "visualization")}
    data = {"type": "PairedFaceParsingDataset", "dataroot": face_set, "scale": 8}
    return {
        **OPTIONS, "model_type": model_type, "is_train": True, "dist": dist, "path": paths, "network_g": {"scale": 8, **network},
        "rank": torch.distributed.get_rank() if dist else 0, "world_size": torch.distributed.get_world_size() if dist else 1,
        "datasets": {
            "train": {"name": "train", "phase": "train", "num_worker_per_gpu": 0, "batch_size_per_gpu": 2, **data},
            "val": {"name": "val", "phase": "val", **data},
        },
        "train": {
            "optim_g": {"type": "Adam", "lr": 1e-3}, "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5},
            "total_iter": 4, **train,
        },
        "val": {"val_freq": 1000, "save_img": True, "metrics": {"psnr": PSNR}},
    }  # fmt: skip


def build(opt: dict) -> tuple:
    """The model, its training loader and its validation loader."""
    from basicsr.models import build_model
    from basicsr.utils import get_root_logger

    from wnet_arch.training.loaders import create_train_val_dataloader

    torch.manual_seed(opt["rank"])
    loader, _, (val_loader,), _, _ = create_train_val_dataloader(opt, get_root_logger())
    return build_model(opt), loader, val_loader


def train(model, loader) -> None:
    for step, batch in enumerate(loader, start=1):
        model.feed_data(batch)
        model.optimize_parameters(step)


def bare_weights(net: torch.nn.Module) -> dict:
    return {name.removeprefix("module."): value.clone() for name, value in net.state_dict().items()}


def validate(face_set: str, out: Path) -> dict:
    """Steps with BatchNorm, whose statistics differ between the processes, then a validation; that alone if there are weights."""
    network = {"type": "SPARNet", "num_blocks": 1, "num_feat": 8}
    opt = options(face_set, out, "FaceSRModel", network, pixel_opt={"type": "L1Loss"}, ema_decay=0.5, total_iter=1)
    model, loader, val_loader = build(opt)
    start = out / "start_.pth"
    if start.exists():
        model.load_network(model.net_g_ema, str(start), param_key="params_ema")
    else:
        train(model, loader)
        model.save_network([model.net_g, model.net_g_ema], "start", "", ["params", "params_ema"])
    model.validation(val_loader, 1, None, save_img=True)
    return {"psnr": model.metric_results["psnr"].hex(), "best": model.best_metric_results["val"]["psnr"]["val"].hex()}


def accumulate(face_set: str, out: Path) -> dict:
    """Four steps of eight images each, however many processes there are."""
    parts = 4 // (torch.distributed.get_world_size() if distributed.is_joined() else 1)
    network = {"type": "EDSR_face", "num_feat": 8, "num_blocks": 2}
    opt = options(face_set, out, "FaceSRModel", network, pixel_opt={"type": "L1Loss"}, accumulation=parts)
    model, loader, _ = build(opt)
    model.load_network(model.net_g, str(out / "edsr.pth"))
    train(model, loader)
    return {name: value.tolist() for name, value in bare_weights(model.net_g).items()}


def parse(face_set: str, out: Path) -> dict:
    """W-Net and its loss, whose networks and terms are several; a part of it stays as it is."""
    network = {"type": "WNet", "num_feat": 8, "peak": 1}
    loss = {"type": "WNetLoss", "vgg": None}
    model, loader, _ = build(
        options(face_set, out, "WNetModel", network, wnet_opt=loss, total_iter=2, frozen="trunk.parsing.residual")
    )
    before = bare_weights(model.net_g)
    train(model, loader)
    parameters = dict(model.get_bare_model(model.net_g).named_parameters())
    sums = sum(value.double().sum().item() for value in parameters.values())
    return {
        "moved": all(torch.equal(before[name], value) == ("parsing.residual" in name) for name, value in parameters.items()),
        "alike": distributed.share(sums) == [sums] * model.opt["world_size"],
    }


def compete(face_set: str, out: Path) -> dict:
    """Networks with BatchNorm against discriminators with BatchNorm, each in two parts; all processes end with the same weights."""
    same = {}
    for name, gan_type in (("MRRNet", "RelativisticHingeGANLoss"), ("SRGAN", "GANLoss")):
        gan = {"type": gan_type, "loss_weight": 0.01}
        discriminator = {"type": "MRRNetDiscriminator", "num_feat": 4}
        if name == "SRGAN":
            gan["gan_type"], discriminator = "vanilla", {"type": "SRGANDiscriminator", "num_feat": 4, "size": 64, "num_hidden": 8}
        network = {"type": "MRRNet", "num_blocks": 1}
        opt = options(
            face_set, out, "FaceGANModel", network, pixel_opt={"type": "L1Loss"}, gan_opt=gan, total_iter=2, accumulation=2,
            optim_d={"type": "Adam", "lr": 1e-3},
        )  # fmt: skip
        model, loader, _ = build({**opt, "network_d": discriminator})
        before = bare_weights(model.net_d)
        train(model, loader)
        sums = [
            sum(value.double().sum().item() for value in dict(net.named_parameters()).values())
            for net in (model.net_g, model.net_d)
        ]
        moved = any(not torch.equal(before[key], value) for key, value in bare_weights(model.net_d).items())
        same[name] = moved and distributed.share(sums) == [sums] * opt["world_size"]
    return same


def skip(face_set: str, out: Path) -> dict:
    """A process meets a broken image: the step is left out everywhere, and the next one is taken everywhere."""
    network = {"type": "EDSR_face", "num_feat": 8, "num_blocks": 2}
    opt = options(face_set, out, "FaceSRModel", network, pixel_opt={"type": "L1Loss"}, nonfinite="skip", accumulation=2)
    model, loader, _ = build(opt)
    batch = next(iter(loader))
    weights = [bare_weights(model.net_g)]
    for step in (1, 2):
        broken = step == 1 and opt["rank"] == 1
        model.feed_data({**batch, "gt": batch["gt"] * float("nan")} if broken else batch)
        model.optimize_parameters(step)
        weights.append(bare_weights(model.net_g))
    start, skipped, stepped = weights
    sums = sum(value.double().sum().item() for value in stepped.values())
    return {
        "left out": all(torch.equal(start[name], skipped[name]) for name in start),
        "taken": any(not torch.equal(skipped[name], stepped[name]) for name in start),
        "alike": distributed.share(sums) == [sums] * opt["world_size"],
    }


def run(face_set: str, out: Path, scenarios: list[str]) -> None:
    for scenario in scenarios:
        result = globals()[scenario](face_set, out)
        rank, count = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed.is_joined() else (0, 1)
        (out / f"{scenario}_{rank}_of_{count}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.joined("pytorch", {"timeout": 2}, on_cpu=True):
        run(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
    distributed.leave(0)
