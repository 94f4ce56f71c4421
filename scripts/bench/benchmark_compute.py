"""What a network costs on this machine: forward pass and training step, time, memory, and how near to the machine's ceiling.

    python scripts/bench/benchmark_compute.py                                    # W-Net of the paper: forward, float32 and bf16
    python scripts/bench/benchmark_compute.py --mode training --peak 1 --batch 8
    python scripts/bench/benchmark_compute.py WNet WNetLite --start_up
    python scripts/bench/benchmark_compute.py SPARNet WNetLite --mode forward training --threads 2 --json costs.json
    python scripts/bench/benchmark_compute.py WNetLite --mode muon           # a step of Muon alone, iterated in either precision
    python scripts/bench/benchmark_compute.py WNet --device cuda --mode forward training --batch 8 --no_transcription

W-Net is compared with its plain, eager, float32, un-fused transcription in ``tests/wnet_reference.py``, in the same run:
the cases take turns in every round, and the median counts. With --reuse_memory freed memory is kept for the next step, as the
trainer does, in all cases, the transcription too; without, as torch does by itself. Peak memory is what a fresh process needs
beyond what it had when the network was built. What the backward pass keeps is counted, not measured. The ceiling is what bare 3x3
convolutions of the network's own shapes reach, in the same layout and precision. ``differs`` and ``PSNR`` (dB, of SR in [0, 1])
compare with the first float32 result of the network. On a GPU (--device) ``host`` is the part of the seconds after which Python has
handed over all the work: near 100 % the GPU waits for it. Float32 is whole float32 there, without TF32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from wnet_arch import disk
from wnet_arch.cli.common import run_script
from wnet_arch.errors import UsageError, WNetError

TESTS = Path(__file__).resolve().parents[2] / "tests"
FACE_SIZE = 128
TRANSCRIPTION = "transcription"


@dataclass
class Case:
    """One row: a network, how it is run, and what was found. Seconds, bytes, multiply-accumulates; of the whole batch."""

    network: str
    mode: str
    precision: str
    checkpointing: bool = False
    seconds: float | None = None
    host_seconds: float | None = None
    peak_bytes: int | None = None
    kept_bytes: int | None = None
    macs: float | None = None
    largest_difference: float | None = None
    psnr: float | None = None
    flops_per_second: float | None = None
    ceiling: float | None = None

    def label(self) -> str:
        return f"{self.network}, {self.mode}, {self.precision}" + ", checkpointing" * self.checkpointing


def build(case: Case, args: argparse.Namespace) -> torch.nn.Module:
    """The network of a case, weights from seed 0; the transcription of W-Net has W-Net's."""
    from wnet_arch import create_network
    from wnet_arch.training.grad_checkpointing import checkpoint_blocks
    from wnet_arch.weights.checkpoint import load_into

    torch.manual_seed(0)
    options = {name: getattr(args, name) for name in ("num_feat", "peak") if getattr(args, name) is not None}
    name = "WNet" if case.network == TRANSCRIPTION else case.network
    net = create_network(name, args.scale, **(options if name == "WNet" else {}))
    if args.weights:
        load_into(net, args.weights)
    if case.network == TRANSCRIPTION:
        sys.path.insert(0, str(TESTS))
        from wnet_reference import WNetReference

        plain = WNetReference(args.scale, **options)
        plain.load_state_dict(net.state_dict())
        net = plain
    if case.checkpointing and not checkpoint_blocks(net):
        raise UsageError(f"{case.network} has no blocks to be checkpointed; leave out --checkpointing")
    return net.train(case.mode == "training")


def wait(device: str) -> None:
    """Until the device has done all that it was given."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def runner(case: Case, args: argparse.Namespace):
    """A function that does the case's work once."""
    net = build(case, args).to(args.device)
    if case.mode == "muon":
        return muon_step(net, case.precision)
    lq = torch.rand(args.batch, 3, FACE_SIZE // args.scale, FACE_SIZE // args.scale).to(args.device)
    if case.network != TRANSCRIPTION:
        net = net.to(memory_format=torch.channels_last)
        net = torch.compile(net) if args.compile else net
        lq = lq.contiguous(memory_format=torch.channels_last)
    target = torch.rand(args.batch, 3, FACE_SIZE, FACE_SIZE).to(args.device)
    optimizer = torch.optim.Adam(net.parameters()) if case.mode == "training" else None

    def precision():
        kind = torch.device(args.device).type
        return torch.autocast(kind, torch.bfloat16) if case.precision == "bf16" else nullcontext()

    def forward():
        with torch.inference_mode(), precision():
            net(lq, return_aux=True)

    def step():
        with precision():
            outputs = net(lq, return_aux=True)
            loss = sum((out.float() - target).square().mean() for out in outputs if out.shape == target.shape)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return forward if case.mode == "forward" else step


def muon_step(net: torch.nn.Module, precision: str):
    """A function that steps a network's weights once by gradients of noise."""
    from wnet_arch.training.optimizers import Muon

    optimizer = Muon(net.parameters(), precision=precision)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    return optimizer.step


def cases_of(args: argparse.Namespace) -> list[Case]:
    cases = []
    for mode in args.mode:
        for network in args.networks:
            if network == "WNet" and not args.no_transcription and mode != "muon":
                cases.append(Case(TRANSCRIPTION, mode, "fp32"))
            for precision in args.precision:
                cases.append(Case(network, mode, precision))
                if mode == "training" and args.checkpointing:
                    cases.append(Case(network, mode, precision, True))
    return cases


def measure_times(cases: list[Case], args: argparse.Namespace) -> str:
    """Median seconds of each case, all cases taking turns, and of these the host's. Returns the name of the clock."""
    from wnet_arch.inference.profiling import clock

    now, name = clock(args.device)
    runs = [runner(case, args) for case in cases]
    times: list[list[tuple[float, float]]] = [[] for _ in cases]
    for round_ in range(args.runs + 1):
        for run, taken in zip(runs, times):
            wait(args.device)
            start = now()
            run()
            handed_over = now()
            wait(args.device)
            if round_ or args.runs == 0:  # the first round warms up
                taken.append((now() - start, handed_over - start))
    for case, taken in zip(cases, times):
        case.seconds, host = (statistics.median(column) for column in zip(*taken))
        case.host_seconds = host if args.device != "cpu" else None
    return name


def count(case: Case, args: argparse.Namespace) -> None:
    """Multiply-accumulates that are really done, and bytes kept for the backward pass (float32, one face, times the batch)."""
    from wnet_arch.inference.profiling import kept_for_backward

    with FlopCounterMode(display=False) as counter:
        runner(case, args)()
    case.macs = counter.get_total_flops() / 2
    if case.mode == "training" and case.precision == "fp32":
        with torch.device("meta"):
            lq = torch.zeros(args.batch, 3, FACE_SIZE // args.scale, FACE_SIZE // args.scale)
            case.kept_bytes = kept_for_backward(build(case, args), lq)


def compare(cases: list[Case], args: argparse.Namespace) -> None:
    """How far SR of the forward passes is from that of the first one of the network, float32; on smooth images, not on noise."""
    torch.manual_seed(0)
    side = FACE_SIZE // args.scale
    lq = F.interpolate(torch.rand(args.batch, 3, 5, 5), (side, side), mode="bicubic").clamp(0, 1).to(args.device)
    kind = torch.device(args.device).type
    true: dict[str, torch.Tensor] = {}
    for case in (case for case in cases if case.mode == "forward"):
        net = build(case, args).to(args.device)
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=case.precision == "bf16"):
            sr = net(lq, return_aux=True)[0].float().clamp(0, 1)
        difference = sr - true.setdefault("WNet" if case.network == TRANSCRIPTION else case.network, sr)
        if difference.any():
            case.largest_difference = float(difference.abs().max())
            case.psnr = float(-10 * difference.square().mean().log10())


def measure_peak(case: Case, index: int) -> None:
    """In a process of its own: what its memory grows by during the work."""
    command = [sys.executable, __file__, *sys.argv[1:], "--child", str(index)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    case.peak_bytes = int(found.stdout.split()[-1])


def child(case: Case, args: argparse.Namespace) -> None:
    run = runner(case, args)
    if args.device != "cpu":
        return print(measure_peak_on_gpu(run, args.device))
    torch.ones(64, 64) @ torch.ones(64, 64)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew, from what is in use now
    before = memory("VmRSS")
    run()
    print(memory("VmHWM") - before)


def measure_peak_on_gpu(run, device: str) -> int:
    """Bytes by which the GPU's memory grows during the work."""
    wait(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    wait(device)
    return torch.cuda.max_memory_allocated(device) - before


def memory(what: str) -> int:
    """Bytes in use (VmRSS), or at the highest mark (VmHWM), of this process, as Linux tells."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return 1024 * int(line.split()[1])


def ceiling(network: str, precision: str, layout: torch.memory_format, args: argparse.Namespace) -> float | None:
    """FLOP/s of bare 3x3 convolutions of a network's shapes, weighted as they occur in it."""
    from wnet_arch.inference.profiling import clock
    from wnet_arch.training.own_layers import convolutions

    side = FACE_SIZE // args.scale
    found = convolutions(build(Case(network, "forward", precision), args), (args.batch, 3, side, side))
    now, _ = clock(args.device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    flops = seconds = 0.0
    for conv, times in found.items():
        if (conv.kernel, conv.stride, conv.groups) != ((3, 3), (1, 1), 1):
            continue
        x = torch.rand(conv.shape, device=args.device).to(dtype).contiguous(memory_format=layout)
        weight = torch.rand(conv.channels, conv.shape[1], 3, 3, device=args.device).to(dtype).contiguous(memory_format=layout)
        with torch.inference_mode():
            F.conv2d(x, weight, padding=1)
            wait(args.device)
            start = now()
            F.conv2d(x, weight, padding=1)
            wait(args.device)
            seconds += times * (now() - start)
        flops += times * 2 * conv.macs
    return flops / seconds if seconds else None


def report(cases: list[Case], args: argparse.Namespace) -> str:
    """The table: times relative to the first case of the same mode."""
    lines = [
        f"{'case':44}{'seconds':>9}{'host':>7}{'faces/s':>9}{'faster':>8}{'peak MiB':>10}{'kept MiB':>10}{'GMACs':>9}"
        f"{'GFLOP/s':>9}{'ceiling':>9}{'share':>7}{'differs':>10}{'PSNR':>6}"
    ]
    for case in cases:
        first = next(other for other in cases if other.mode == case.mode)
        mib = [f"{value / 2**20:.0f}" if value is not None else "-" for value in (case.peak_bytes, case.kept_bytes)]
        share = f"{case.flops_per_second / case.ceiling:.0%}" if case.ceiling else "-"
        away = f"{case.largest_difference:>10.1e}{case.psnr:>6.1f}" if case.psnr else ""
        host = f"{case.host_seconds / case.seconds:.0%}" if case.host_seconds else "-"
        top = f"{case.ceiling / 1e9:.0f}" if case.ceiling else "-"
        lines.append(
            f"{case.label():44}{case.seconds:>9.3f}{host:>7}{args.batch / case.seconds:>9.2f}{first.seconds / case.seconds:>7.2f}x"
            f"{mib[0]:>10}{mib[1]:>10}{case.macs / 1e9:>9.1f}{case.flops_per_second / 1e9:>9.0f}{top:>9}{share:>7}{away}"
        )
    return "\n".join(lines)


START_UP = """
import time
start = time.perf_counter()
import torch
torch.set_num_threads({threads})
from_torch = time.perf_counter()
from wnet_arch import create_network
imported = time.perf_counter()
net = create_network({network!r}, {scale}, **{options!r}).eval().to({device!r})
built = time.perf_counter()
with torch.inference_mode(), torch.autocast({device!r}.partition(":")[0], torch.bfloat16, enabled={bf16}):
    net(torch.rand(1, 3, {side}, {side}).to({device!r})).cpu()
print(from_torch - start, imported - from_torch, built - imported, time.perf_counter() - built)
"""


def measure_start_up(network: str, precision: str, args: argparse.Namespace) -> str:
    """What a fresh process needs until it has its first face: wall-clock seconds, the median of ``--runs`` processes."""
    options = {name: getattr(args, name) for name in ("num_feat", "peak") if getattr(args, name) is not None and network == "WNet"}
    code = START_UP.format(
        threads=args.threads, network=network, scale=args.scale, options=options, bf16=precision == "bf16",
        side=FACE_SIZE // args.scale, device=args.device,
    )  # fmt: skip
    runs = []
    for _ in range(max(args.runs, 1)):
        begin = time.perf_counter()
        found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        runs.append((time.perf_counter() - begin, *map(float, found.stdout.split())))
    total, *parts = sorted(runs)[len(runs) // 2]
    named = ", ".join(f"{name} {part:.2f}" for name, part in zip(("torch", "wnet_arch", "build", "first forward"), parts))
    return f"{network}, {precision}: {total:.2f} s from the start of Python to its end ({named})"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=["WNet"], help="registered names (default: WNet)")
    parser.add_argument("--mode", nargs="+", choices=("forward", "training", "muon"), default=["forward"])
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--checkpointing", action="store_true", help="training with and without gradient checkpointing")
    parser.add_argument("--scale", type=int, default=8, choices=(4, 8))
    parser.add_argument("--peak", type=int, help="of WNet (default: 8)")
    parser.add_argument("--num_feat", type=int, help="of WNet (default: 64)")
    parser.add_argument("--weights", metavar="FILE", help="of the one network that is measured; without, weights are random")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=3, help="timed rounds; a first one warms up")
    parser.add_argument("--compile", action="store_true", help="networks, not the transcription, through torch.compile")
    parser.add_argument("--reuse_memory", action="store_true", help="keep freed memory in all cases, as the trainer does")
    parser.add_argument("--no_memory", action="store_true", help="leave out the processes that measure peak memory")
    parser.add_argument("--start_up", action="store_true", help="instead: import, build and first forward in a fresh process")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    parser.add_argument("--no_transcription", action="store_true", help="leave out the plain transcription of W-Net")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    from wnet_arch.float32 import true_float32
    from wnet_arch.inference.runners import check_device

    try:
        if args.runs < 0 or args.batch < 1 or args.threads < 1:
            raise UsageError("--runs must be 0 or more, --batch and --threads 1 or more")
        check_device(args.device)
        with true_float32():
            measure_all(args)
    except WNetError as error:
        sys.exit(str(error))


def measure_all(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    cases = cases_of(args)
    if args.reuse_memory:
        from wnet_arch.training.memory import reuse_freed_memory

        reuse_freed_memory()
    if args.child is not None:
        return child(cases[args.child], args)
    load = [os.getloadavg()[0]]
    if args.start_up:
        print(*(measure_start_up(network, precision, args) for network in args.networks for precision in args.precision), sep="\n")
        return print(f"load average {load[0]:.1f} to {os.getloadavg()[0]:.1f}")
    clock_name = measure_times(cases, args)
    compare(cases, args)
    ceilings: dict[tuple, float | None] = {}
    for index, case in enumerate(cases):
        count(case, args)
        case.flops_per_second = 2 * case.macs / case.seconds
        layout = torch.contiguous_format if case.network == TRANSCRIPTION else torch.channels_last
        if case.mode == "forward":
            key = (case.network, case.precision)
            ceilings[key] = case.ceiling = ceiling(*key, layout, args)
        if not args.no_memory:
            measure_peak(case, index)
    load.append(os.getloadavg()[0])
    card = f"{torch.cuda.get_device_name(args.device)}, " if args.device != "cpu" else ""
    place = f"{card}{platform.machine()}, {args.threads} threads of {os.cpu_count()} processors, torch {torch.__version__}"
    how = f"x{args.scale}, batch {args.batch}, {clock_name}, median of {args.runs}; load average {load[0]:.1f} to {load[1]:.1f}"
    print(place, how, sep="\n")
    print(report(cases, args))
    if args.json:
        content = {"machine": place, "how": how, "time": time.strftime("%Y-%m-%dT%H:%M:%S"), "cases": [asdict(c) for c in cases]}
        disk.write_text(args.json, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
