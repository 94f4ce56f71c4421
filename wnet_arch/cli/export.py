"""``wnet export``: a network as one file, for programs that know nothing of this package."""

from __future__ import annotations

import argparse

EXAMPLES = """\
NETWORK is the name of a shipped network (wnet_lite_x8), or a run, .pth or .safetensors file, [LABEL=]WHAT[@OPTIONS.yml], as for
wnet benchmark --networks. The suffix of FILE is its format:
  .onnx         for ONNX Runtime and others; also for wnet restore --weights and wnet benchmark --networks
  .pt2          for torch.export.load, without the network's Python code
  .safetensors  the weights, and how this package builds their network

All take lq, float32 (B, 3, h, h), RGB in [0, 1], for any B, with h = 128 / scale, and give sr, (B, 3, 128, 128), not clamped, and
parsing, the estimated skin map, where the network has one. FILE gets its name when it equals torch on batches of 1, 2 and 3.

--precision fp16 and bf16 halve the file: kernels and matrices are kept so, and computed with in float32 wherever it runs.

examples:
  wnet export wnet_lite_x8 -o wnet_lite_x8.onnx
  wnet export experiments/wnet_x8 -o wnet_x8.onnx --precision fp16
  wnet export experiments/wnet_x8 -o wnet_x8.onnx --check datasets/celeba/val   # equal on 50 real faces? how fast?
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet export``."""
    parser = subparsers.add_parser(
        "export",
        help="a network as an ONNX, torch.export or safetensors file",
        description="Writes a trained network as one file, and compares that with torch before it gets its name.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("network", metavar="NETWORK", help="a shipped network, run or weights file")
    add("-o", "--out", required=True, metavar="FILE", help="what to write: .onnx, .pt2 or .safetensors")
    add("--precision", default="fp32", metavar="P", help="of the weights in the file: fp32, fp16, bf16 (default: fp32)")
    add("--check", metavar="SET", help="compare and time the file on faces of a set, as for wnet benchmark --sets")
    add("--faces", type=int, metavar="N", help="of that set, the first N (default: 50)")
    add("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs ``wnet export``; returns the exit code."""
    from wnet_arch.cli.basicsr import load_plugins
    from wnet_arch.export import export_network
    from wnet_arch.export.command import report

    load_plugins()
    done = export_network(args.network, args.out, args.precision, args.overwrite, args.check, args.faces)
    print("\n".join(report(done)))
    return 0
