"""Weights files that vouch for themselves, whoever damages them; files of others that do not, and are known as such."""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import FUZZ, FUZZ_SEED
from wnet_arch.errors import WeightsError
from wnet_arch.training import training_state
from wnet_arch.weights import checkpoint, metadata, seals

#: Damages tried on each kind of file.
TRIALS = 300 * FUZZ
ABOUT = {"network_g": '{"type": "SRCNN"}', "scale": "8", "note": "größer\n"}


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "body.weight": torch.randn(32, 16, 3, 3, generator=generator), "body.bias": torch.zeros(8).half(),
        "steps": torch.tensor(7), "none": torch.empty(0, 3),
    }  # fmt: skip


def ours_pth(path: Path) -> None:
    checkpoint.write({"params": tensors()}, path)


def foreign_pth(path: Path) -> None:
    torch.save({"params": tensors()}, path)


def ours_safetensors(path: Path) -> None:
    seals.write_tensors(tensors(), path, ABOUT)


def damage(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    kind = chance.randrange(4)
    if kind == 0:
        return bytes(damaged[: chance.randrange(len(damaged))])
    if kind == 1:  # a block of zeros, as a file system leaves it after a loss of power
        first = chance.randrange(len(damaged))
        damaged[first : first + 512] = bytes(len(damaged[first : first + 512]))
        return bytes(damaged)
    for _ in range(1 if kind == 2 else 8):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


@pytest.mark.parametrize(
    ("write", "name"), [(ours_pth, "net.pth"), (foreign_pth, "net.pth"), (ours_safetensors, "net.safetensors")]
)
def test_damaged_weights_are_never_loaded(tmp_path, write, name):
    path, chance, expected = tmp_path / name, random.Random(FUZZ_SEED), tensors()
    write(path)
    content, refused = path.read_bytes(), 0
    for _ in range(TRIALS):
        path.write_bytes(damage(content, chance))
        try:
            found = checkpoint.read_state_dict(str(path))
        except WeightsError:
            refused += 1
            continue
        # Bytes that nobody reads: times of day in an archive, for instance.
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) and found[key].dtype == expected[key].dtype for key in expected)
    assert refused > 0.8 * TRIALS if write is foreign_pth else refused > 0.97 * TRIALS


def test_other_programs_read_sealed_files(tmp_path):
    archive, file, expected = tmp_path / "net.pth", tmp_path / "net.safetensors", tensors()
    digest = checkpoint.write({"params": expected}, archive)
    ours_safetensors(file)
    for mapped in (False, True):
        found = torch.load(archive, weights_only=True, mmap=mapped)["params"]
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert zipfile.ZipFile(archive).testzip() is None
    assert checkpoint.verify(archive) == digest
    found = load_file(file)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert {key: text for key, text in metadata.texts(file).items() if key != seals.KEY} == ABOUT
    assert metadata.texts(file)[seals.KEY] == seals.MARK + checkpoint.verify(file)


def test_packing_again_gives_the_same_bytes(tmp_path):
    first = seals.pack_tensors(tensors(), ABOUT)
    (tmp_path / "a.safetensors").write_bytes(first)
    again = metadata.texts(tmp_path / "a.safetensors")  # with the old checksum, which does not count
    assert seals.pack_tensors(load_file(tmp_path / "a.safetensors"), again) == first
    assert seals.pack_tensors(tensors())  # without metadata


def test_nothing_vouches_for_tensors_of_others(tmp_path, caplog):
    save_file(tensors(), tmp_path / "foreign.safetensors")
    torch.save(tensors(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    foreign_pth(tmp_path / "zip.pth")
    ours_pth(tmp_path / "ours.pth")
    ours_safetensors(tmp_path / "ours.safetensors")
    with caplog.at_level(logging.WARNING, logger="wnet_arch"):
        for name in ("foreign.safetensors", "old.pth", "zip.pth", "ours.pth", "ours.safetensors", "foreign.safetensors"):
            checkpoint.read_state_dict(str(tmp_path / name))
    said = [record.message for record in caplog.records]
    assert [line.partition(":")[2].split(":")[0] for line in said] == [
        f" nothing vouches for {tmp_path / name}" for name in ("foreign.safetensors", "old.pth")
    ]


@pytest.mark.parametrize("content", [b"", b"12ab", b"0" * 63, b"\0" * 90])
def test_a_checksum_that_was_not_finished_locks_nothing(tmp_path, content):
    """States of earlier versions, whose checksum lay beside them; and states whose checksum is inside, beside such a file."""
    old = {"iter": 3, "epoch": 0, "optimizers": [], "schedulers": [], "networks": {}, "format": "wnet-training-state-1"}
    path = tmp_path / "3.state"
    torch.save(old, path)
    (tmp_path / "3.state.sha256").write_bytes(content)
    assert training_state.newest(str(tmp_path), str(tmp_path))[1]["iter"] == 3
    (tmp_path / "3.state.sha256").unlink()
    assert training_state.newest(str(tmp_path), str(tmp_path))[1]["iter"] == 3
    (tmp_path / "3.state.sha256").write_text("0" * 64 + "  3.state\n")
    with pytest.raises(WeightsError, match="is damaged"):
        training_state.read(path, str(tmp_path))
    training_state.write({key: old[key] for key in ("iter", "epoch", "optimizers", "schedulers")}, str(tmp_path), str(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3.state"]
    (tmp_path / "3.state.sha256").write_bytes(content)
    assert training_state.newest(str(tmp_path), str(tmp_path))[1]["iter"] == 3


WRITER = """
import sys, torch
from wnet_arch.weights import checkpoint
print("ready", flush=True)
for number in range(10**6):
    checkpoint.write({"params": {"a": torch.full((200_000,), float(number))}}, sys.argv[1])
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path, chance = tmp_path / "net_g_latest.pth", random.Random(2)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout.readline()
        while not path.exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert checkpoint.verify(path)
        assert checkpoint.read_state_dict(str(path))["a"].unique().numel() == 1
        assert not list(tmp_path.glob("*.sha256"))
