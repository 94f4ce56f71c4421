"""Runs of several processes: how they find each other, and what they must agree on.

``torchrun`` (``--launcher pytorch``) and Slurm (``--launcher slurm``) start the processes; NCCL joins those on GPUs, gloo those on
CPUs. The framework always takes NCCL, a GPU by global rank, and a time limit of its own.
"""

from __future__ import annotations

import atexit
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn

from wnet_arch.errors import PeerError, UsageError, WNetError
from wnet_arch.training.handshake import agree_on_name

#: Minutes that a process waits for the others, where ``dist_params.timeout`` does not say.
TIMEOUT = 10
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODELIST")


def launcher(asked: str | None, environment: Mapping[str, str]) -> str:
    """``none``, ``pytorch`` or ``slurm``: what was asked for, else ``pytorch`` under torchrun.

    Processes of torchrun that know nothing of each other would all train the same run into the same folder.
    """
    return asked or ("pytorch" if "TORCHELASTIC_RUN_ID" in environment else "none")


def may_be_restarted(environment: Mapping[str, str]) -> bool:
    """Whether torchrun was asked to start the processes anew where one fails (``--max_restarts``).

    A process cannot tell a restart from a first start: agents of other machines count only the failures of their own.
    """
    return int(environment.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


@contextmanager
def first_one_speaks(launcher: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Before the processes are joined: what every one of them finds wrong, the first one says.

    Raises:
        PeerError: in the other processes, for a :class:`WNetError` inside.
    """
    rank = {"pytorch": environment.get("RANK"), "slurm": environment.get("SLURM_PROCID")}.get(launcher)
    try:
        yield
    except WNetError as error:
        if rank in (None, "", "0"):
            raise
        raise PeerError("process 0 says what is wrong") from error


@contextmanager
def joined(launcher: str, settings: Mapping | None, on_cpu: bool) -> Iterator[None]:
    """Joins the processes of a run, and lets go of them at the end.

    Args:
        launcher: ``none``, ``pytorch`` or ``slurm``.
        settings: the block ``dist_params`` of the options: ``backend`` (``auto``, ``nccl``, ``gloo``), ``port`` (of Slurm),
            ``timeout`` in minutes.
        on_cpu: the run asks for CPUs (``num_gpu: 0``).

    Raises:
        UsageError: the launcher's environment is missing, or a process has no GPU of its own.
        WNetError: the others cannot be reached.
    """
    if launcher == "none":
        yield
        return
    settings = dict(settings or {})
    environment = _torchrun_environment() if launcher == "pytorch" else _slurm_environment(settings.get("port"))
    on_gpu = torch.cuda.is_available() and not on_cpu
    backend = _backend(settings.get("backend"), on_gpu)
    if on_gpu:
        _take_gpu(int(environment["LOCAL_RANK"]))
    os.environ.update(environment)
    timeout = timedelta(minutes=settings.get("timeout") or TIMEOUT)
    try:
        dist.init_process_group(backend, timeout=timeout, **_store(environment, timeout))
    except (RuntimeError, ValueError) as error:  # torch's errors of the connection are RuntimeErrors
        where = f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
        reason = str(error).strip().splitlines()[0]
        raise WNetError(f"--launcher {launcher}: the processes of the run cannot be joined at {where}: {reason}") from error
    yield
    dist.destroy_process_group()  # not after an error: it may wait for the others, whom the launcher is about to end


def leave(code: int) -> NoReturn:
    """Ends a process that was joined with others, when all is done; Python's own end, less the freeing of what is left.

    After DistributedDataParallel torch keeps the process group, and its threads, even when it has been destroyed (2.14). A process
    that frees its memory meanwhile aborts now and then, "terminate called without an active exception", and torchrun reports a
    finished training as failed.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _backend(wanted: str | None, on_gpu: bool) -> str:
    if wanted == "gloo" or not on_gpu:  # a file written for GPUs runs on CPUs, too
        return "gloo"
    if not dist.is_nccl_available():
        raise UsageError("dist_params.backend: this PyTorch has no NCCL; use gloo")
    return "nccl"


def _store(environment: Mapping[str, str], timeout: timedelta) -> dict:
    """Where the processes meet, as ``init_process_group`` takes it: in the agents' store, or as the environment says."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    rank, world_size, port = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    store = dist.TCPStore(environment["MASTER_ADDR"], port, is_master=False, timeout=timeout)
    name = agree_on_name(store, rank, world_size, timeout)
    return {"store": dist.PrefixStore(name, store), "rank": rank, "world_size": world_size}


def _torchrun_environment() -> dict[str, str]:
    missing = [name for name in _TORCHRUN if name not in os.environ]
    if missing:
        raise UsageError(
            f"--launcher pytorch: {missing[0]} is not set; start with `torchrun --nproc_per_node N --no-python basicsr train ...`"
        )
    return {name: os.environ[name] for name in _TORCHRUN}


def _slurm_environment(port: int | None) -> dict[str, str]:
    missing = [name for name in _SLURM if name not in os.environ]
    if missing:
        raise UsageError(f"--launcher slurm: {missing[0]} is not set; start with `srun basicsr train ... --launcher slurm`")
    rank, world_size, local_rank, nodes = (os.environ[name] for name in _SLURM)
    return {
        "RANK": rank,
        "WORLD_SIZE": world_size,
        "LOCAL_RANK": local_rank,
        "LOCAL_WORLD_SIZE": str(_tasks_here()),
        "MASTER_ADDR": os.environ.get("MASTER_ADDR") or _first_host(nodes),
        "MASTER_PORT": str(port or os.environ.get("MASTER_PORT") or 29500),
    }


def _tasks_here() -> int:
    """Processes of the step on this machine: Slurm says ``4(x2),3`` for three machines."""
    text = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_TASKS_PER_NODE", "")
    parts = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in text.split(",")]
    counts = [int(part[1]) for part in parts if part for _ in range(int(part[2] or 1))]
    node = os.environ.get("SLURM_NODEID", "0")
    return counts[int(node)] if node.isdecimal() and int(node) < len(counts) else 1


def _first_host(nodes: str) -> str:
    try:
        run = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True, timeout=60)
        return run.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise UsageError(f"--launcher slurm: `scontrol show hostnames {nodes}` gives no host; set MASTER_ADDR") from error


def _take_gpu(local_rank: int) -> None:
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise UsageError(
            f"process {local_rank} of this machine has no GPU of its own, there are {count}: start {count} processes a machine, "
            "or set num_gpu: 0 to train on CPUs"
        )
    torch.cuda.set_device(local_rank)


def is_joined() -> bool:
    """Whether this process is one of several, or the only one that a launcher has started."""
    return dist.is_available() and dist.is_initialized()


def is_first() -> bool:
    """Whether this process speaks for the run."""
    return not is_joined() or dist.get_rank() == 0


def first_of_machine_checks(check: Callable[[], object]) -> None:
    """Runs a check in the first process of each machine; the others wait for it.

    Raises:
        WNetError: what the check raised, where it was raised.
        PeerError: in the other processes.
    """
    if not is_joined():
        check()
        return
    error = None
    if int(os.environ["LOCAL_RANK"]) == 0:
        try:
            check()
        except Exception as caught:  # the others must hear of it, or they would wait until the time limit
            error = caught
    failed = share(error is not None)
    if error is not None and dist.get_rank() == failed.index(True):
        raise error
    if any(failed):
        raise PeerError(f"process {failed.index(True)} has found something wrong")


def share(value) -> list:
    """The values that all processes give, in the order of their ranks, known to each; Python objects that can be pickled."""
    if not is_joined():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def common_seed() -> int:
    """A random seed, the same in all processes: where the options have none, the framework draws another one in each."""
    return share(random.SystemRandom().randrange(1, 10000))[0]


def init_dist(launcher: str, backend: str = "nccl", **_settings) -> None:
    """Replaces ``basicsr.utils.options.init_dist``: the processes are joined before the framework starts.

    Data loaders start their workers as the framework wants, by spawning: a forked copy of a process that talks to others
    can hang.
    """
    import torch.multiprocessing as mp

    if not is_joined():
        raise UsageError(f"--launcher {launcher}: use the command basicsr, which joins the processes")
    if mp.get_start_method(allow_none=True) is None:
        mp.set_start_method("spawn")


def wrap(net: nn.Module, sync_bn: bool, find_unused_parameters: bool) -> nn.Module:
    """A network whose gradients are averaged over all processes, on the device that it is on.

    Args:
        net: with weights; those of the first process are given to the others.
        sync_bn: batch normalisation over the images of all processes together.
        find_unused_parameters: see ``DistributedDataParallel``.

    Raises:
        UsageError: ``sync_bn`` on CPUs.
    """
    on_gpu = any(value.is_cuda for value in net.state_dict().values())
    if sync_bn and not on_gpu:
        raise UsageError("train.sync_bn: PyTorch synchronises batch normalisation on GPUs only; set it to false on CPUs")
    if sync_bn:
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        return net  # nothing to average: the wrapper refuses such networks
    return nn.parallel.DistributedDataParallel(
        net,
        device_ids=[torch.cuda.current_device()] if on_gpu else None,
        find_unused_parameters=find_unused_parameters,
        # Writing BatchNorm's buffers before each forward pass would spoil a backward pass through an earlier one (a discriminator's
        # answers to two batches). Training does not read them; `copy_buffers` makes them alike where they are read.
        broadcast_buffers=False,
    )


@torch.no_grad()
def copy_buffers(net: nn.Module) -> None:
    """Gives all processes the buffers of the first: each one has BatchNorm statistics of its own images."""
    for buffer in net.buffers():
        dist.broadcast(buffer, 0)
