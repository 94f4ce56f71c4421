"""``wnet profile``: parameters, multiply-accumulates, time and memory of networks, side by side."""

from __future__ import annotations

import argparse

EXAMPLES = """examples:
  wnet profile WNet                       # at paper size
  wnet profile WNet --option peak=1 num_feat=32
  OMP_NUM_THREADS=1 wnet profile --all --time   # every network, forward time relative to SPARNet's in the same run
  wnet profile SPARNet WNet --memory      # what training keeps, without and with gradient checkpointing
"""


def add_parser(subparsers) -> None:
    """Adds ``wnet profile``."""
    parser = subparsers.add_parser(
        "profile",
        help="what networks cost: parameters, multiply-accumulates, time",
        description="Counts parameters and multiply-accumulates for one 128x128 face; --time measures the forward pass.",
        epilog=EXAMPLES,
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="registered names")
    parser.add_argument("--all", action="store_true", help="every registered network")
    parser.add_argument("--scale", type=int, default=8, help="4 or 8, of WNet also 2 and 1 (default: 8)")
    parser.add_argument("--option", nargs="+", default=[], metavar="NAME=VALUE", help="options of the networks named")
    parser.add_argument(
        "--time",
        action="store_true",
        help="measure one face's forward pass, float32; processor time on one thread, else wall clock",
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help="count what training keeps of one face for the backward pass, without and with train.grad_checkpointing",
    )
    parser.add_argument("--runs", type=int, default=5, help="timed passes of each network (default: 5)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for --time (default: cpu)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs ``wnet profile``; returns the exit code."""
    import torch

    from wnet_arch.errors import UsageError
    from wnet_arch.inference import profiling
    from wnet_arch.inference.runners import check_device
    from wnet_arch.options.files import parse_value

    if bool(args.networks) == args.all:
        raise UsageError("profile: name networks, or give --all")
    if args.runs < 1:
        raise UsageError(f"--runs: at least 1, not {args.runs}")
    check_device(args.device)
    options = {}
    for entry in args.option:
        name, equals, value = entry.partition("=")
        if not equals or args.all:
            raise UsageError(f"--option: '{entry}' is not NAME=VALUE for the networks named")
        if name in ("scale", "name"):
            raise UsageError(f"--option {name}: give --scale, and the network by its name alone")
        options[name] = parse_value(value, f"--option {name}: the value")
    names = profiling.trainable_networks(args.scale) if args.all else args.networks
    if not names:
        raise UsageError(f"--scale {args.scale}: no network has it")
    costs = [profiling.cost(name, args.scale, **options) for name in names]
    if args.time:
        profiling.measure_time(costs, dict.fromkeys(names, options), args.runs, args.device)
        place = f"CPU threads: {torch.get_num_threads()}" if args.device == "cpu" else torch.cuda.get_device_name(args.device)
        how = f"{profiling.clock(args.device)[1]}, median of {args.runs}"
        print(f"one 128x128 face, float32, eager, {how}, {place}, torch {torch.__version__}")
    if args.memory:
        profiling.count_memory(costs, dict.fromkeys(names, options))
    print(profiling.table(costs))
    return 0
