"""Grows a W-Net that was trained with a low pyramid into one with a higher pyramid that computes the same function.

    python scripts/zoo/grow_wnet.py zoo/wnet_peak1/experiments/wnet_peak1 --peak 8 -o zoo/grown.safetensors
    python scripts/zoo/train_zoo.py WNet 8 --images 80 --batch 4 --lr 1e-4 --name wnet_peak8 --force_yml \\
        path:pretrain_network_g=$PWD/zoo/grown.safetensors

A step of the published pyramid costs a CPU seconds for every face, one with `peak: 1` a twenty-eighth of it. So most of the
training can be done low. New enlargements start as nearest-neighbour enlargement, new reductions as the mean of four pixels,
new fusions as the identity: the grown network's faces are those of the small one, and training goes on from there. Its batch
normalisations take mean and variance of the features from --faces faces of --set, so that in training, too, they begin as
the identity.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from wnet_arch import options
from wnet_arch.archs.base import build_network
from wnet_arch.archs.layers import Downsample, Upsample
from wnet_arch.archs.wnet_arch import WNet
from wnet_arch.archs.wnet_blocks import LPF
from wnet_arch.cli.common import run_script
from wnet_arch.data.decoding import image_tensor
from wnet_arch.errors import UsageError
from wnet_arch.float32 import true_float32
from wnet_arch.inference.runners import check_device
from wnet_arch.inference.test_sets import open_set
from wnet_arch.weights import seals
from wnet_arch.weights.checkpoint import read_state_dict


def grow(small: WNet, large: WNet, lq: torch.Tensor) -> None:
    """Gives ``large`` the function of ``small``, which has ``peak`` 1 and else the same form.

    Args:
        small: trained, with LPF.
        large: any weights; all are replaced but those of the new fusions' attention, which does not act yet.
        lq: (B, 3, h, w) faces whose features give the statistics of the new batch normalisations.
    """
    old, new = small.trunk, large.trunk
    state = large.state_dict()
    kept = {key: value for key, value in small.state_dict().items() if ".pyramid" not in key}
    state.update(kept)
    large.load_state_dict(state)
    new.pyramid[0][0].load_state_dict(old.pyramid[0].state_dict())
    new.pyramid_fusions[-1].load_state_dict(old.pyramid_fusions[0].state_dict())
    mean, var = statistics(small, lq)
    with torch.no_grad():
        for number, (conv, resample) in enumerate(new.pyramid):
            if number:
                as_identity(conv)
            enlarge_plainly(resample) if isinstance(resample, Upsample) else reduce_plainly(resample)
            pass_through(resample[-1], mean, var)
        for fusion in new.pyramid_fusions[:-1]:
            without_effect(fusion)


def statistics(net: WNet, lq: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (C,) of the features after the first convolution of the pyramid."""
    found: list[torch.Tensor] = []
    hook = net.trunk.pyramid[0].register_forward_hook(lambda module, inputs, output: found.append(output.detach().float()))
    with torch.no_grad():
        for face in lq:
            net.eval()(face[None])
    hook.remove()
    features = torch.cat(found)
    return features.mean(dim=(0, 2, 3)), features.var(dim=(0, 2, 3), unbiased=False)


def as_identity(conv: torch.nn.Conv2d) -> None:
    torch.nn.init.dirac_(conv.weight)
    conv.bias.zero_()


def enlarge_plainly(up: Upsample) -> None:
    """Pixel shuffle of four equal copies: nearest-neighbour enlargement."""
    channels = up[0].in_channels
    up[0].weight.copy_(torch.eye(channels).repeat_interleave(4, dim=0)[..., None, None])
    up[0].bias.zero_()


def reduce_plainly(down: Downsample) -> None:
    """The mean of four pixels."""
    channels = down[1].out_channels
    down[1].weight.copy_(torch.eye(channels).repeat_interleave(4, dim=1)[..., None, None] / 4)
    down[1].bias.zero_()


def pass_through(norm: torch.nn.BatchNorm2d, mean: torch.Tensor, var: torch.Tensor) -> None:
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.copy_((var + norm.eps).sqrt())
    norm.bias.copy_(mean)


def without_effect(fusion: LPF) -> None:
    """Features pass; what would be added to them starts at zero and learns from the first step."""
    as_identity(fusion.conv_lr2)
    for conv in (fusion.conv_fuse1, fusion.conv_fuse2, fusion.conv_parsing):
        conv.weight.zero_()
        conv.bias.zero_()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="experiments/NAME of a W-Net trained with peak: 1")
    parser.add_argument("--peak", type=int, choices=(2, 4, 8), default=8)
    parser.add_argument("--which", choices=("params", "params_ema"), default="params", help="last weights, or their moving average")
    parser.add_argument("--set", default="datasets/celeba/val", metavar="SET")
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--device", default="cpu", help="where faces are computed: cpu, cuda, cuda:1 (default: cpu)")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.safetensors")
    args = parser.parse_args()
    files = sorted(args.run.glob("*.yml"))
    if len(files) != 1:
        sys.exit(f"{args.run} is not the folder of a training run: it holds {len(files)} option files, not one")
    block = options.load(str(files[0]))["network_g"]
    if block["type"] != "WNet" or block.get("peak", 8) != 1 or not block.get("lpf", True):
        sys.exit(f"{files[0]}: only a WNet with LPF and peak: 1 can grow, not {block}")
    try:
        check_device(args.device)
        small, large = build_network(block).eval(), build_network({**block, "peak": args.peak}).eval()
        small.load_state_dict(read_state_dict(str(args.run / "models" / "net_g_latest.pth"), args.which))
        faces = open_set(args.set, "set", [small.scale], args.faces)
    except UsageError as error:
        sys.exit(str(error))
    lq = torch.stack([image_tensor(faces.lr(key, small.scale)) for key in faces.keys]).to(args.device)
    small, large = small.to(args.device), large.to(args.device)
    with torch.no_grad(), true_float32():
        grow(small, large, lq)
        difference = (small(lq[:1]) - large(lq[:1])).abs().max().item()
    print(f"peak {args.peak}: largest difference to peak 1 on a face {difference:.1e}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    seals.write_tensors(large.cpu().state_dict(), args.out)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
