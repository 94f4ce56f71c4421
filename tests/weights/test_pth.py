"""Weights files that cannot be read: what each is and what to do, in one line, without a word on how to run the code in it."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wnet_arch.errors import WeightsError
from wnet_arch.faces import inference
from wnet_arch.losses.vgg import VGG19Features
from wnet_arch.metrics.lpips import read_trunk
from wnet_arch.weights import metadata, pth
from wnet_arch.weights.checkpoint import load_into, read_state_dict


class Trap:
    """Unpickling this would make a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def torch_file(content, old: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def tar_file() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"none"))
    return file.getvalue()


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/b.txt", "nothing")
    return file.getvalue()


def script_file() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


def safetensors_file(folder: Path) -> bytes:
    save_file({"a": torch.zeros(3)}, str(folder / "whole"))
    return (folder / "whole").read_bytes()


TENSOR = {"a": torch.zeros(1000)}
CODE = r"it holds more than weights \(\S*{}\), and reading that would run code in it; have it saved as \.safetensors where it came"
DAMAGED = "it is damaged, cut off, or something else; download or copy it again"
KINDS = {
    "code": (lambda trap: torch_file({"params": trap}), CODE.format("mkdir")),
    "code, old format": (lambda trap: torch_file({"params": trap}, old=True), CODE.format("mkdir")),
    "code, plain pickle": (lambda trap: pickle.dumps({"params": trap}, 2), CODE.format("mkdir")),
    "code, newest pickle": (lambda trap: pickle.dumps({"params": trap}, 5), CODE.format("mkdir")),
    "a module": (lambda _: torch_file(torch.nn.Conv2d(1, 1, 1)), CODE.format("Conv2d")),
    "options": (lambda _: torch_file({"opt": argparse.Namespace(), **TENSOR}), CODE.format("Namespace")),
    "an array": (lambda _: torch_file({"a": np.zeros(3)}), CODE.format("_reconstruct")),
    "a program": (lambda _: script_file(), "it is a TorchScript program, which brings its own code; have it saved"),
    "oldest format": (lambda _: tar_file(), "it is of torch's oldest format, which cannot be read without running code"),
    "nothing": (lambda _: b"", "it is empty; download or copy it again"),
    "cut at 1": (lambda _: torch_file(TENSOR)[:1], DAMAGED),
    "cut at 700": (lambda _: torch_file(TENSOR)[:700], DAMAGED),
    "cut at the end": (lambda _: torch_file(TENSOR)[:-9], DAMAGED),
    "cut, old format": (lambda _: torch_file(TENSOR, old=True)[:-9], DAMAGED),
    "no names, old format": (lambda _: torch_file(TENSOR, old=True)[:40], DAMAGED),
    "text": (lambda _: b"hello", DAMAGED),
    "a web page": (lambda _: b"\n<!DOCTYPE html><html>Sign in", "it is a web page; download the file itself"),
    "a pointer": (lambda _: b"version https://git-lfs.github.com/spec/v1\noid", r"it is a pointer of Git LFS; .* \(git lfs pull\)"),
    "another zip": (lambda _: zip_file(), "it is a zip archive, but none of torch.save"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_says_what_it_is(tmp_path, kind, recwarn):
    make, said = KINDS[kind]
    path, sprung = tmp_path / "net.pth", tmp_path / "sprung"
    path.write_bytes(make(Trap(sprung)))
    for read in (
        lambda: read_state_dict(str(path)),
        lambda: load_into(torch.nn.Linear(1, 1), str(path)),
        lambda: inference.load_into(torch.nn.Linear(1, 1), str(path), "a detector"),
        lambda: VGG19Features(weights=str(path), layers=["relu1_1"]),
        lambda: read_trunk(path),
    ):
        with pytest.raises(WeightsError, match=rf"net\.pth .*: {said}") as caught:
            read()
        message = str(caught.value)
        assert "\n" not in message
        assert "\x1b" not in message
        assert "weights_only" not in message
        assert "add_safe_globals" not in message
    assert not sprung.exists()
    assert not [one for one in recwarn if "torch.load" in str(one.message)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"hello", DAMAGED),
        (b"<html>", "it is a web page"),
        (torch_file(TENSOR), "it is no .safetensors file; rename it to .pth"),
        (b"\xff" * 64, DAMAGED),
    ],
)
def test_safetensors(tmp_path, content, said):
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    for read in (lambda: read_state_dict(str(path)), lambda: metadata.read(path)):
        with pytest.raises(WeightsError, match=rf"net\.safetensors is not a readable weights file: {said}") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_files_under_another_name(tmp_path):
    (tmp_path / "net.pth").write_bytes(safetensors_file(tmp_path))
    with pytest.raises(WeightsError, match=r"it is a \.safetensors file under another name; rename it"):
        read_state_dict(str(tmp_path / "net.pth"))


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "net.pth").mkdir()
    with pytest.raises(WeightsError, match=r"net\.pth is not a readable weights file: Is a directory"):
        pth.load(tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"none\.pth is not a readable weights file: No such file or directory"):
        pth.load(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"none\.safetensors is not a readable weights file: No such file"):
        metadata.texts(tmp_path / "none.safetensors")


def test_what_can_be_read_is_read(tmp_path):
    content = {"params": {"a": torch.arange(3), "b": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))}, "iter": 3}
    for old in (False, True):
        (tmp_path / "a.pth").write_bytes(torch_file(content, old))
        found = pth.load(tmp_path / "a.pth")
        assert found["iter"] == 3
        assert torch.equal(found["params"]["a"], torch.arange(3))


def test_nothing_else_reads_such_files():
    """One place knows torch's messages. A training state has a reader of its own."""
    root = Path(pth.__file__).parents[1]
    users = {str(path.relative_to(root)) for path in root.rglob("*.py") if "torch.load(" in path.read_text(encoding="utf-8")}
    assert users <= {"weights/pth.py", "models/training_state.py"}
