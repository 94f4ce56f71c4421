"""Several processes, joined by gloo on CPUs, do what one does."""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import yaml

from tests import ranks
from tests.cli.test_train_command import basicsr, run_options
from tests.conftest import PATIENCE, write_set
from tests.training.test_resume import iteration_of, reported
from wnet_arch import create_network
from wnet_arch.errors import PeerError, UsageError, WNetError
from wnet_arch.training import distributed
from wnet_arch.training.handshake import agree_on_name

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture(scope="module")
def seven_faces(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("seven") / "faces", count=7)


def launch(arguments: list, cwd: Path, **environment: str) -> subprocess.Popen:
    with open(cwd / "out.txt", "ab") as out:
        return subprocess.Popen(
            [*TORCHRUN, *map(str, arguments)],
            cwd=cwd, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )  # fmt: skip


def wait(process: subprocess.Popen, cwd: Path) -> None:
    try:
        assert process.wait(timeout=PATIENCE) == 0, (cwd / "out.txt").read_text()[-3000:]
    finally:
        if process.poll() is None:
            process.terminate()  # the agent ends its processes, which are in groups of their own
            process.wait(timeout=60)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def in_processes(count: int, face_set: Path, out: Path, *scenarios: str) -> list[dict]:
    """Runs scenarios of ``ranks.py``; returns the last one's results, by rank."""
    arguments = ["--nproc_per_node", count, "--master_port", free_port(), ranks.__file__, face_set, out, *scenarios]
    wait(launch(arguments, out), out)
    return [json.loads((out / f"{scenarios[-1]}_{rank}_of_{count}.json").read_text()) for rank in range(count)]


def test_any_number_of_processes_validates_alike_to_the_last_bit(tmp_path, seven_faces):
    of_three = in_processes(3, seven_faces, tmp_path, "validate")
    pictures = {path.name: path.read_bytes() for path in tmp_path.glob("*/*.png")}
    assert len(pictures) == 7
    of_two = in_processes(2, seven_faces, tmp_path, "validate")
    ranks.run(str(seven_faces), tmp_path, ["validate"])
    alone = json.loads((tmp_path / "validate_0_of_1.json").read_text())
    assert of_three == [alone] * 3
    assert of_two == [alone] * 2
    assert pictures == {path.name: path.read_bytes() for path in tmp_path.glob("*/*.png")}


def test_a_process_that_leaves_does_what_python_does_at_its_end():
    imports = "import atexit; from wnet_arch.training import distributed; "
    code = imports + "atexit.register(print, 'end'); print('begun'); distributed.leave(3)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (run.returncode, run.stdout, run.stderr) == (3, "begun\nend\n", "")


def test_accumulated_gradients_adversaries_and_broken_images(tmp_path, seven_faces):
    eight = write_set(tmp_path / "faces", count=32)
    torch.manual_seed(3)
    net = create_network("EDSR", scale=8, num_feat=8, num_blocks=2)
    torch.save({"params": net.state_dict()}, tmp_path / "edsr.pth")
    assert in_processes(2, eight, tmp_path, "parse", "compete", "skip", "accumulate")
    for rank in range(2):
        assert json.loads((tmp_path / f"parse_{rank}_of_2.json").read_text()) == {"moved": True, "alike": True}
        assert json.loads((tmp_path / f"compete_{rank}_of_2.json").read_text()) == {"MRRNet": True, "SRGAN": True}
        assert json.loads((tmp_path / f"skip_{rank}_of_2.json").read_text()) == {"left out": True, "taken": True, "alike": True}
    ranks.run(str(eight), tmp_path, ["accumulate"])
    alone, first, second = (
        json.loads((tmp_path / f"accumulate_{name}.json").read_text()) for name in ("0_of_1", "0_of_2", "1_of_2")
    )
    assert first == second
    start = net.state_dict()
    for name, value in alone.items():
        assert not torch.equal(torch.tensor(value), start[name])
        torch.testing.assert_close(torch.tensor(first[name]), torch.tensor(value), atol=1e-5, rtol=1e-5)


def twenty_steps(path: Path, train: Path, val: Path, batch: int, workers: int = 0) -> Path:
    opt = run_options(train)
    opt.update(model_type="FaceSRModel", network_g={"type": "EDSR_face", "scale": 8, "num_feat": 8, "num_blocks": 2}, num_gpu=0)
    opt["train"].update(total_iter=20, ema_decay=0.9, pixel_opt={"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"})
    del opt["train"]["wnet_opt"]
    opt["datasets"]["train"].update(batch_size_per_gpu=batch, num_worker_per_gpu=workers, persistent_workers=bool(workers))
    opt["datasets"]["val"]["dataroot"] = str(val)
    opt["logger"].update(print_freq=1, save_checkpoint_freq=5)
    opt["val"].update(val_freq=10, keep_best="psnr")
    path.write_text(yaml.safe_dump(opt))
    return path


def weights(experiment: Path) -> dict:
    return torch.load(experiment / "models" / "net_g_latest.pth", weights_only=True)


def kill_process(rank: int, moment: int, experiment: Path) -> None:
    """Kills the training process of a rank once the run has reported an iteration."""
    deadline = time.monotonic() + 200
    while iteration_of(experiment) < moment and time.monotonic() < deadline:
        time.sleep(0.02)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (folder / "environ").read_bytes().split(b"\0"), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"RANK={rank}".encode() in environment and str(experiment.parents[1]).encode() in command:
            os.kill(int(folder.name), signal.SIGKILL)
            return
    raise AssertionError(f"no process {rank} to kill")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process to kill in /proc")
def test_two_processes_are_one_and_two_machines_survive_a_killed_process(tmp_path, seven_faces):
    """20 steps: one process with batch 8; two with batch 4; two agents, as on two machines, with batch 4 and a process killed."""
    train = write_set(tmp_path / "faces", count=24)
    for name in ("one", "two", "killed"):
        (tmp_path / name).mkdir()
    run = basicsr("train", "-opt", twenty_steps(tmp_path / "one" / "run.yml", train, seven_faces, 8), cwd=tmp_path / "one")
    assert run.returncode == 0, run.stderr

    command = ["-m", "wnet_arch.cli.basicsr", "train", "-opt"]
    file = twenty_steps(tmp_path / "two" / "run.yml", train, seven_faces, 4, workers=1)
    wait(launch(["--nproc_per_node", 2, "--master_port", free_port(), *command, file], tmp_path / "two"), tmp_path / "two")
    one, two, killed = (tmp_path / name / "experiments" / "tiny" for name in ("one", "two", "killed"))
    for key in ("params", "params_ema"):
        for name, value in weights(one)[key].items():
            torch.testing.assert_close(weights(two)[key][name], value, atol=1e-5, rtol=1e-5)
    for alone, together in zip(reported(one), reported(two)):
        assert alone.keys() == together.keys()
        assert all(together[key] == pytest.approx(alone[key], abs=1e-5) for key in ("iter", "l_pix", "psnr") if key in alone)

    file = twenty_steps(tmp_path / "killed" / "run.yml", train, seven_faces, 4)
    port, agents = free_port(), []
    for _ in range(2):
        agents.append(launch(
            ["--nnodes", 2, "--nproc_per_node", 1, "--max_restarts", 3, "--monitor_interval", 0.2, "--rdzv_backend", "c10d",
             "--rdzv_endpoint", f"127.0.0.1:{port}", "--rdzv_id", "run", "--local_addr", "127.0.0.1", *command, file],
            tmp_path / "killed",
        ))  # fmt: skip
    kill_process(1, 12, killed)
    for agent in agents:
        wait(agent, tmp_path / "killed")
    assert "Resuming training from epoch" in (tmp_path / "killed" / "out.txt").read_text()
    for key in ("params", "params_ema"):
        assert all(torch.equal(value, weights(two)[key][name]) for name, value in weights(killed)[key].items())
    assert reported(killed) == reported(two)


def test_wrong_options_are_one_line_of_one_process(tmp_path, seven_faces):
    file = twenty_steps(tmp_path / "run.yml", seven_faces, tmp_path / "nowhere", 2)
    process = launch(
        ["--nproc_per_node", 2, "--master_port", free_port(), "-m", "wnet_arch.cli.basicsr", "train", "-opt", file], tmp_path
    )
    assert process.wait(timeout=PATIENCE) != 0
    said = [line for line in (tmp_path / "out.txt").read_text().splitlines() if "basicsr" in line and "error:" in line]
    assert len(said) == 1
    assert "datasets.val" in said[0]
    assert not (tmp_path / "experiments").exists()


def test_launchers_that_are_not_there_are_named(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="torchrun --nproc_per_node N"), distributed.joined("pytorch", None, on_cpu=True):
        pass
    with (
        pytest.raises(UsageError, match="SLURM_PROCID is not set; start with `srun"),
        distributed.joined("slurm", None, on_cpu=True),
    ):
        pass


@pytest.mark.parametrize(
    ("tasks", "node", "count"),
    [("8", "0", 8), ("4(x2),3", "1", 4), ("4(x2),3", "2", 3), ("", "0", 1), ("4", "9", 1), ("many", "0", 1)],
)
def test_slurm_tells_how_many_processes_a_machine_has(monkeypatch, tasks, node, count):
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", tasks)
    monkeypatch.delenv("SLURM_TASKS_PER_NODE", raising=False)
    monkeypatch.setenv("SLURM_NODEID", node)
    assert distributed._tasks_here() == count


def test_slurm_finds_the_first_host(tmp_path, monkeypatch):
    """One process of one task, with a scontrol that knows the names."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames local[host-host2]" ] && printf "localhost\\nlocalhost2\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in {"PROCID": "0", "NTASKS": "1", "LOCALID": "0", "NODELIST": "local[host-host2]"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # joined() sets them: restored afterwards
    with distributed.joined("slurm", {"port": free_port(), "backend": "nccl"}, on_cpu=True):
        assert os.environ["MASTER_ADDR"] == "localhost"
        assert torch.distributed.get_backend() == "gloo"
        assert distributed.share("here") == ["here"]
    monkeypatch.setenv("SLURM_NODELIST", "unknown")
    monkeypatch.setenv("MASTER_ADDR", "")
    with pytest.raises(UsageError, match="set MASTER_ADDR"), distributed.joined("slurm", None, on_cpu=True):
        pass


def test_torchrun_is_noticed_and_its_restarts_resume():
    assert distributed.launcher(None, {}) == "none"
    assert distributed.launcher(None, {"TORCHELASTIC_RUN_ID": "none"}) == "pytorch"
    assert distributed.launcher("slurm", {"TORCHELASTIC_RUN_ID": "none"}) == "slurm"
    assert distributed.may_be_restarted({"TORCHELASTIC_MAX_RESTARTS": "3"})
    assert not distributed.may_be_restarted({"TORCHELASTIC_MAX_RESTARTS": "0"})
    assert not distributed.may_be_restarted({})


def test_each_start_agrees_on_a_name_of_its_own():
    """Also where the store holds words of dead processes, and whoever comes first or last."""
    server = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    names = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)):

        def come(rank: int, order=order) -> str:
            store = torch.distributed.TCPStore("127.0.0.1", server.port, is_master=False)
            time.sleep(0.1 * order.index(rank))
            return agree_on_name(store, rank, 3, timedelta(seconds=20))

        with ThreadPoolExecutor(3) as threads:
            agreed = set(threads.map(come, range(3)))
        assert len(agreed) == 1
        names += agreed
        server.set("greeting/1", "of a process that died before it was answered")
    assert len(set(names)) == 4
    with pytest.raises(WNetError, match="process 1 of the run has not come in time"):
        agree_on_name(server, 0, 2, timedelta(seconds=0.1))
    with pytest.raises(WNetError, match="the first process of the run has not come in time"):
        agree_on_name(server, 1, 2, timedelta(seconds=0.1))


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    said = "process 2 of this machine has no GPU of its own, there are 2: start 2 processes"
    with pytest.raises(UsageError, match=said), distributed.joined("pytorch", None, on_cpu=False):
        pass


def test_synchronised_batchnorm_is_refused_on_cpus(seven_faces):
    with pytest.raises(UsageError, match=r"train\.sync_bn: PyTorch synchronises batch normalisation on GPUs only"):
        distributed.wrap(torch.nn.BatchNorm2d(3), sync_bn=True, find_unused_parameters=False)


def test_other_processes_say_nothing_of_an_error_that_one_has_told(capsys):
    from wnet_arch.cli.common import run_command

    def fail(argv):
        raise PeerError("told")

    assert run_command("basicsr", fail, []) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batchnorm_is_synchronised_by_nccl(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).cuda()
    with distributed.joined("pytorch", None, on_cpu=False):
        assert torch.distributed.get_backend() == "nccl"
        wrapped = distributed.wrap(copy.deepcopy(plain), sync_bn=True, find_unused_parameters=False)
        assert isinstance(wrapped.module[1], torch.nn.SyncBatchNorm)
        x = torch.rand(2, 3, 8, 8, device="cuda")
        for net in (plain, wrapped):
            net(x).square().mean().backward()
        torch.testing.assert_close(wrapped.module[0].weight.grad, plain[0].weight.grad, atol=1e-5, rtol=1e-4)
