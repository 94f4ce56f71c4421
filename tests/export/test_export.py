"""``wnet export``: files that give the faces which the network gives in torch, and say where they come from."""

from __future__ import annotations

import builtins
import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.archs.test_networks import small
from tests.conftest import write_set
from tests.restore.test_restore import BlueScreen, scene
from wnet_arch import FaceRestorer, archs, create_network, list_networks
from wnet_arch.archs.base import FaceSRNetwork
from wnet_arch.benchmark.command import BenchmarkOptions, benchmark
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.errors import DataError, UsageError, WeightsError, WNetError
from wnet_arch.export import checks, export_network, onnx_file, program_file, tensors_file
from wnet_arch.export.subject import Outputs
from wnet_arch.inference import entries
from wnet_arch.weights import metadata

SMALL = {"num_feat": 32, "depths": [1, 1, 1, 1]}
FACTS = {"training_set": "faces (10 faces)", "iterations": "300", "seed": "4", "terms": "for the test"}
#: What torch's ONNX exporter has no operator for.
NO_ONNX = {"SFMNet": "fft"}
#: Every network at both scales, where the environment asks for it: some take minutes to trace.
QUICK = [("EDSR", 8), ("SPARNet", 8), ("SRCNN", 4), ("SRCNN", 8), ("WNet", 8), ("WNetLite", 4), ("WNetLite", 8), ("SFMNet", 8)]
NETWORKS = [(name, scale) for name in list_networks() for scale in (4, 8)] if os.environ.get("WNET_EXPORT_ALL") else QUICK


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[int, str]:
    """Small WNetLites with random weights, whose skin map is skin in the middle of the face."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for scale in (4, 8):
        net = create_network("WNetLite", scale, **SMALL)
        torch.manual_seed(scale)
        state = {
            name: value + 0.03 * torch.randn_like(value) * value.is_floating_point() for name, value in net.state_dict().items()
        }
        about = {**FACTS, "network_g": json.dumps({"type": "WNetLite", "scale": scale, **SMALL}), "scale": str(scale)}
        files[scale] = str(folder / f"lite_x{scale}.safetensors")
        save_file({name: value.contiguous() for name, value in state.items()}, files[scale], about)
    return files


@pytest.fixture(scope="module")
def onnx_files(weights, tmp_path_factory) -> dict[int, str]:
    """The same as ONNX files."""
    need_onnx()
    folder, files = tmp_path_factory.mktemp("onnx"), {}
    for scale, path in weights.items():
        files[scale] = str(folder / f"lite_x{scale}.onnx")
        export_network(path, files[scale])
    return files


def need_onnx() -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")


def wnet_export(*arguments) -> int:
    return run_command("wnet", wnet._main, ["export", *map(str, arguments)])


def outputs_of(path: str, faces: torch.Tensor) -> list[torch.Tensor]:
    """What a weights file gives, computed face by face."""
    source = entries.open_one(path, None)
    net = source.build()
    with torch.no_grad():
        out = [net(face[None], return_aux=True) for face in faces]
    return [torch.cat([one.sr for one in out]), torch.cat([one.parsing for one in out])]


# What a file gives


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".safetensors"])
def test_files_equal_torch_for_every_batch(weights, tmp_path, suffix):
    if suffix == ".onnx":
        need_onnx()
    out = tmp_path / f"lite{suffix}"
    done = export_network(weights[8], out)
    faces = checks.trial_faces(16, 7)
    wanted = outputs_of(weights[8], faces)
    limit = {".onnx": 1e-4, ".pt2": 1e-5, ".safetensors": 1e-5}[suffix]
    assert done.difference <= limit
    for batch in (1, 4, 7):
        if suffix == ".onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
            found = session.run(["sr", "parsing"], {"lq": faces[:batch].numpy()})
        elif suffix == ".pt2":
            found = [one.detach().numpy() for one in torch.export.load(out).module()(faces[:batch])]
        else:
            found = [one.numpy() for one in outputs_of(str(out), faces[:batch])]
        for one, other in zip(found, wanted):
            assert np.abs(one - other[:batch].numpy()).max() <= limit
    assert (wanted[0] - wanted[0].mean()).abs().max() > 0.1  # not all faces are grey
    assert sorted(file.name for file in tmp_path.iterdir()) == [out.name]


@pytest.mark.parametrize(("name", "scale"), NETWORKS)
def test_which_networks_become_onnx(name, scale, tmp_path, capfd):
    """Noise, and halves along borders, which the enlargement inside the file rounds as torch does."""
    need_onnx()
    outputs = Outputs(small(name, scale), 128 // scale)
    if name in NO_ONNX:
        with pytest.raises(UsageError, match=rf"{name} cannot become an ONNX file: .*{NO_ONNX[name]}.*write \.pt2"):
            onnx_file.write(outputs, {}, "fp32", tmp_path / "net.onnx")
        assert capfd.readouterr().out == ""  # torch would print the whole graph
        return
    onnx_file.write(outputs, {}, "fp32", tmp_path / "net.onnx")
    faces = torch.randint(256, (4, 3, outputs.side, outputs.side), generator=torch.Generator().manual_seed(0)) / 255
    faces[0, :, :, :2], faces[1, :, -2:] = (faces[0, :, :, :2] > 0.5).float(), (faces[1, :, -2:] > 0.5).float()
    found, wanted = checks.results(onnx_file.reopen(tmp_path / "net.onnx"), faces, 4), checks.results(outputs, faces)
    assert len(found) == len(outputs.names) == (2 if name in ("WNet", "WNetLite") else 1)
    assert checks.difference(found, wanted) < 1e-4


def test_no_output_may_have_values_that_are_no_numbers():
    one, none = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    none[0, 1, 1, 0] = float("nan")
    for found in ([none, one], [one, none], [none, none]):
        assert checks.difference(found, [one, one]) == float("inf")
    assert checks.difference([one, one + 0.5], [one, one]) == 0.5


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_short_weights_halve_the_file(weights, tmp_path, precision, suffix):
    if suffix == ".onnx":
        need_onnx()
    long, short = tmp_path / f"long{suffix}", tmp_path / f"short{suffix}"
    export_network(weights[8], long)
    done = export_network(weights[8], short, precision)
    assert short.stat().st_size < 0.65 * long.stat().st_size
    run = onnx_file.reopen(short) if suffix == ".onnx" else lambda lq: outputs_of(str(short), lq)
    faces = checks.trial_faces(16, 3)
    wanted = outputs_of(weights[8], faces)[0]
    moved = float((run(faces)[0] - wanted).abs().max())
    assert 0 < moved < {"fp16": 2e-3, "bf16": 2e-2}[precision]
    assert done.rounding == pytest.approx(moved, abs=1e-5)


def test_short_files_keep_vectors_and_what_would_overflow(weights, tmp_path):
    outputs = Outputs(entries.open_one(weights[8], None).build(), 16)
    outputs.net.trunk.shallow.weight.data.fill_(7e4)
    (tmp_path / "short.safetensors").touch()
    tensors_file.write(outputs, {}, "fp16", tmp_path / "short.safetensors")
    short, state = load_file(str(tmp_path / "short.safetensors")), outputs.net.state_dict()
    assert torch.equal(short.pop("trunk.shallow.weight"), state.pop("trunk.shallow.weight"))
    assert all(torch.equal(value, state[name]) for name, value in short.items() if value.ndim < 2)
    assert all(value.dtype == torch.float16 for value in short.values() if value.ndim >= 2)


def test_files_say_where_they_come_from(weights, onnx_files, tmp_path):
    source = entries.open_one(onnx_files[4], None)
    assert (source.scale, source.fixed) == (4, (32, 32))
    assert (source.provenance.training_set, source.provenance.iterations, source.provenance.seed) == ("faces (10 faces)", 300, 4)
    export_network(weights[8], tmp_path / "again.safetensors", "bf16")
    found = metadata.texts(tmp_path / "again.safetensors")
    assert json.loads(found["network_g"]) == {"type": "WNetLite", "scale": 8, **SMALL}
    assert {key: found[key] for key in FACTS} == FACTS
    assert (found["name"], found["precision"]) == ("lite_x8", "bf16")
    assert metadata.read(tmp_path / "again.safetensors").provenance == source.provenance
    export_network(weights[8], tmp_path / "again.pt2")
    inside = {program_file.ABOUT: ""}
    torch.export.load(tmp_path / "again.pt2", extra_files=inside)
    assert json.loads(inside[program_file.ABOUT])["training_set"] == "faces (10 faces)"


# Who reads them


def test_photos_are_restored_alike_without_any_architecture(weights, onnx_files, monkeypatch):
    """The same faces and masks as with torch, to one grey level; and nothing is built to do so."""
    photo = scene(10, 10, 14, 22, 24)
    wanted = FaceRestorer(weights=list(weights.values()), detector=BlueScreen()).restore(photo)
    plain = FaceRestorer("Bicubic", detector=BlueScreen()).restore(photo)

    def refuse(*_):
        raise AssertionError("an architecture was built")

    monkeypatch.setattr(FaceSRNetwork, "__init__", refuse)
    monkeypatch.setattr("basicsr.archs.build_network", refuse)
    monkeypatch.setattr(archs.base, "NETWORKS", {})
    found = FaceRestorer(weights=list(onnx_files.values()), detector=BlueScreen()).restore(photo)
    assert {face.scale for face in found.restored} == {4, 8}
    for face, other in zip(found.restored, wanted.restored):
        assert np.abs(face.sr.astype(int) - other.sr).max() <= 1
        assert face.mask_from == other.mask_from
        np.testing.assert_allclose(face.mask, other.mask, atol=0.02)
    assert np.abs(found.image.astype(int) - wanted.image).max() <= 1
    assert np.abs(wanted.image.astype(int) - plain.image).max() > 5


def test_the_skin_map_of_an_onnx_file_is_the_networks(weights, onnx_files):
    from wnet_arch.restore.networks import open_networks

    faces = [np.random.default_rng(n).integers(0, 256, (16, 16, 3), np.uint8) for n in range(3)]
    found, wanted = (open_networks(None, [file])[8].run(faces) for file in (onnx_files[8], weights[8]))
    for one, other in zip(found, wanted):
        np.testing.assert_allclose(one.skin, other.skin, atol=1e-4)
    assert np.ptp(wanted[0].skin) > 0.01


def test_benchmarks_take_exported_files(weights, onnx_files, tmp_path):
    faces = write_set(tmp_path / "faces", count=3, size=128)
    networks = [f"torch={weights[8]}", f"onnx={onnx_files[8]}"]
    options = BenchmarkOptions(networks, [str(faces)], str(tmp_path / "out"), protocols=("rgb",), metrics=(), batch=2)
    results, _ = benchmark(options)
    np.testing.assert_allclose(results.values["faces", 8, "onnx"], results.values["faces", 8, "torch"], rtol=1e-4)
    assert [(net.training_set, net.iterations, net.seed) for net in results.networks] == [("faces (10 faces)", 300, 4)] * 2


def test_faces_of_another_size_are_refused(onnx_files, tmp_path):
    faces = write_set(tmp_path / "faces", count=2, size=64)
    options = BenchmarkOptions(
        networks=[onnx_files[8]], sets=[str(faces)], out=str(tmp_path / "out"), protocols=("rgb",), metrics=()
    )
    with pytest.raises(DataError, match=r"lite_x8\.onnx was made for faces of 16x16 pixels; LR faces of faces x8 are 8x8"):
        benchmark(options)


# The command


def test_the_command_compares_and_times_on_faces(weights, tmp_path, capsys):
    need_onnx()
    faces = write_set(tmp_path / "faces", count=5, size=128)
    threads = torch.get_num_threads()
    assert (
        wnet_export(f"mine={weights[8]}", "-o", tmp_path / "mine.onnx", "--check", faces, "--faces", 4, "--precision", "fp16") == 0
    )
    said = capsys.readouterr().out
    assert "mine.onnx: mine, WNetLite x8, fp16" in said
    assert "trained on faces (10 faces), 300 iterations, seed 4" in said
    assert "terms: for the test" in said
    assert "4 faces of faces equal torch to" in said
    assert "one face on 1 thread: torch" in said
    assert torch.get_num_threads() == threads


def test_the_command_says_that_nothing_is_known_of_the_training(weights, tmp_path, capsys):
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(weights[8]), bare, {"network_g": json.dumps({"type": "WNetLite", "scale": 8, **SMALL}), "scale": "8"})
    assert wnet_export(bare, "-o", tmp_path / "bare.pt2") == 0
    assert "; nothing is known of its training" in capsys.readouterr().out


def test_shipped_networks_by_name(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("wnet_arch.weights.shipped.names", lambda: ["tiny_net_x4", "tiny_net_x8"])
    monkeypatch.setattr("wnet_arch.weights.shipped.path", lambda name: Path(weights[int(name[-1])]))
    done = export_network("tiny_net_x8", tmp_path / "tiny.safetensors")
    assert (done.subject.name, done.subject.scale) == ("tiny_net_x8", 8)
    with pytest.raises(UsageError, match="tiny_net ships at several scales; say tiny_net_x4 or tiny_net_x8"):
        export_network("tiny_net", tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("network", "out", "options", "said"),
    [
        ("WEIGHTS", "net.onx", {}, r"net\.onx has no suffix of \.onnx, \.pt2, \.safetensors"),
        ("WEIGHTS", "net", {}, "has no suffix of"),
        ("WEIGHTS", "net.pt2", {"precision": "fp8"}, "--precision: fp32 or fp16 or bf16, not 'fp8'"),
        ("WEIGHTS", "net.pt2", {"precision": "fp16"}, r"\.pt2 files are float32"),
        ("WEIGHTS", "nowhere/net.pt2", {}, "there is no folder .*nowhere"),
        ("WEIGHTS", "there.pt2", {}, "there.pt2 is there already; --overwrite replaces it"),
        ("WEIGHTS", "folder.pt2", {"overwrite": True}, "folder.pt2 is a folder"),
        ("WEIGHTS", "net.safetensors", {"check": "nowhere"}, "^--check: there is no folder nowhere"),
        ("WEIGHTS", "net.safetensors", {"check": "small"}, "the faces of small are 64x64; exported networks make 128x128"),
        ("WEIGHTS", "net.safetensors", {"check": "small", "faces": 0}, "--faces: at least 1"),
        ("CTCNet", "net.pt2", {}, "^CTCNet needs weights"),
        ("Bicubic", "net.pt2", {}, "Bicubic has no weights"),
        ("small", "net.pt2", {}, "'small' is no weights file, folder"),
        ("missing.pth", "net.pt2", {}, "there is no weights file missing.pth"),
        ("cut.safetensors", "net.pt2", {}, "cut.safetensors is not a readable weights file"),
        ("nan.safetensors", "net.safetensors", {}, "differs from torch by inf"),
    ],
)
def test_wrong_arguments_are_one_line(weights, tmp_path, monkeypatch, network, out, options, said):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "small", count=1)
    Path("there.pt2").write_bytes(b"mine")
    Path("folder.pt2").mkdir()
    Path("cut.safetensors").write_bytes(Path(weights[8]).read_bytes()[:5000])
    state = {
        name: value.float() * float("nan") if name.endswith("to_rgb.bias") else value
        for name, value in load_file(weights[8]).items()
    }
    save_file(state, "nan.safetensors", metadata.texts(Path(weights[8])))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(WNetError, match=said) as caught:
        export_network(weights[8] if network == "WEIGHTS" else network, out, **options)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before
    assert Path("there.pt2").read_bytes() == b"mine"


def test_a_number_of_faces_needs_a_set(weights, tmp_path, capsys):
    assert run_command("wnet", wnet._main, ["export", weights[8], "-o", str(tmp_path / "a.safetensors"), "--faces", "5"]) == 2
    assert capsys.readouterr().err == "wnet: error: --faces: says how many of --check SET, which is not given\n"


def test_files_are_replaced_on_request_but_not_the_network_itself(weights, tmp_path):
    out = tmp_path / "net.safetensors"
    out.write_bytes(b"old")
    export_network(weights[8], out, overwrite=True)
    assert metadata.read(out).scale == 8
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~_umask()
    kept = out.read_bytes()
    with pytest.raises(UsageError, match="is the network that is to be exported"):
        export_network(str(out), out, "bf16", overwrite=True)
    assert out.read_bytes() == kept


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_places_that_cannot_be_written(weights, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WNetError, match=r"cannot write .*net\.pt2: Permission denied"):
        export_network(weights[8], tmp_path / "net.pt2")


def test_a_full_disk_leaves_nothing(weights, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wnet_arch.weights.seals.pack_tensors", full)
    with pytest.raises(WNetError, match=r"cannot write .*net\.safetensors: no space left on .*: free some, then"):
        export_network(weights[8], tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_not_kept(weights, tmp_path, monkeypatch):
    need_onnx()
    reopen = onnx_file.reopen
    monkeypatch.setattr(onnx_file, "reopen", lambda *a: lambda lq: [out + 2e-4 for out in reopen(*a)(lq)])
    with pytest.raises(WNetError, match=r"net\.onnx, batch of 1: differs from torch by 0.0002, more than 0.0001"):
        export_network(weights[8], tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(weights, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "onnx", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"ONNX files need onnx: pip install 'onnx>=[\d.]+' 'onnxruntime>=[\d.]+'"):
        export_network(weights[8], tmp_path / "net.onnx")


def test_damaged_metadata_of_an_onnx_file(onnx_files, tmp_path):
    import onnx

    model = onnx.load(onnx_files[8])
    for entry in model.metadata_props:
        if entry.key == "iterations":
            entry.value = "many"
    onnx.save(model, str(tmp_path / "odd.onnx"))
    with pytest.raises(WeightsError, match=r"odd\.onnx: its metadata is damaged"):
        entries.open_one(str(tmp_path / "odd.onnx"), None)
