"""ONNX files of other programs: whole, in several files, damaged, and of another kind than is wanted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_set
from wnet_arch.benchmark.command import BenchmarkOptions, benchmark
from wnet_arch.data import set_paths
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.export import export_network
from wnet_arch.inference.entries import open_one
from wnet_arch.inference.onnx import OnnxNetwork
from wnet_arch.restore.networks import open_networks
from wnet_arch.weights.onnx_tensors import tensor_files

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

IMAGES = ("b", 3, "h", "w")


def value(name: str, shape=IMAGES, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs=None, outputs=None, tensors=()):
    outputs = [value("sr")] if outputs is None else outputs
    graph = helper.make_graph(nodes, "net", [value("lq")] if inputs is None else inputs, outputs, list(tensors))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model


def kernel(name: str, seed: int, scale: int = 8) -> onnx.TensorProto:
    values = np.random.default_rng(seed).random((3 * scale * scale, 3, 1, 1), np.float32) / 3
    return numpy_helper.from_array(values, name)


def enlarger(seed: int = 0, scale: int = 8, where: str = "graph"):
    """A convolution and a shuffle; its kernel in the graph, in a node, or in the branch of a condition."""
    tensor = kernel("w", seed, scale)
    nodes, tensors = [], []
    if where == "graph":
        tensors = [tensor]
    elif where == "node":
        nodes = [helper.make_node("Constant", [], ["w"], value=tensor)]
    else:
        tensors = [helper.make_tensor("yes", TensorProto.BOOL, [], [True])]
        branches = [helper.make_node("Constant", [], [name], value=tensor) for name in ("w1", "w2")]
        leaves = [value(name, tuple(tensor.dims)) for name in ("w1", "w2")]
        graphs = [helper.make_graph([node], "branch", [], [leaf]) for node, leaf in zip(branches, leaves)]
        nodes = [helper.make_node("If", ["yes"], ["w"], then_branch=graphs[0], else_branch=graphs[1])]
    nodes += [helper.make_node("Conv", ["lq", "w"], ["x"]), helper.make_node("DepthToSpace", ["x"], ["sr"], blocksize=scale)]
    return model_of(nodes, tensors=tensors)


def save_apart(model, path: Path, tensors: str) -> Path:
    """Saves a model with all tensors in another file."""
    onnx.save(
        model, str(path), save_as_external_data=True, location=tensors, size_threshold=0, convert_attribute=True,
        all_tensors_to_one_file=True,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "faces", 3)


def psnr(out: Path, network: Path, faces: Path):
    options = BenchmarkOptions([str(network)], [str(faces)], str(out), protocols=("rgb",), metrics=(), workers=1)
    results, run = benchmark(options)
    return results.values["faces", 8, network.stem][:, 0], run


# --- tensors in other files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["graph", "node", "branch"])
def test_changed_tensors_beside_the_file_are_another_network(tmp_path, faces, where):
    net = save_apart(enlarger(0, where=where), tmp_path / "net.onnx", "weights.bin")
    assert tensor_files(net) == [tmp_path / "weights.bin"]
    before, run = psnr(tmp_path / "out", net, faces)
    assert run.computed == 3
    again, run = psnr(tmp_path / "out", net, faces)
    assert (run.computed, again.tolist()) == (0, before.tolist())
    other = save_apart(enlarger(1, where=where), tmp_path / "other.onnx", "other.bin")
    shutil.copy(tmp_path / "other.bin", tmp_path / "weights.bin")
    found, run = psnr(tmp_path / "out", net, faces)
    assert run.computed == 3
    assert found.tolist() == psnr(tmp_path / "fresh", other, faces)[0].tolist()
    assert (found != before).all()


def test_every_file_with_tensors_counts(tmp_path):
    model = enlarger()
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "unused"))
    (tmp_path / "parts").mkdir()
    for index, tensor in enumerate(model.graph.initializer):
        onnx.external_data_helper.set_external_data(tensor, f"parts/{index}.bin")
        (tmp_path / "parts" / f"{index}.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert tensor_files(tmp_path / "net.onnx") == [tmp_path / "parts" / "0.bin", tmp_path / "parts" / "1.bin"]
    first = open_one(str(tmp_path / "net.onnx"), None).fingerprint
    (tmp_path / "parts" / "1.bin").write_bytes(np.zeros(3, np.float32).tobytes())
    second = open_one(str(tmp_path / "net.onnx"), None).fingerprint
    assert first != second
    assert open_networks(None, [str(tmp_path / "net.onnx")])[8].fingerprint == second


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "weights.bin, which is missing: bring that file along"),
        (b"1234", r"is cut off: it has 4 bytes, net.onnx takes 2,304"),
    ],
)
def test_tensors_that_are_not_there(tmp_path, faces, content, message):
    net = save_apart(enlarger(), tmp_path / "net.onnx", "weights.bin")
    (tmp_path / "weights.bin").unlink()
    if content:
        (tmp_path / "weights.bin").write_bytes(content)
    check_refused_everywhere(tmp_path, net, faces, message)


@pytest.mark.parametrize("away", ["../weights.bin", "/etc/passwd", "a/../../weights.bin"])
def test_tensors_elsewhere_on_the_disk_are_not_read(tmp_path, away):
    model = enlarger()
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], away)
    model.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=r"net\.onnx keeps tensors in '.*', which is not beside it"):
        OnnxNetwork(tmp_path / "net.onnx")


# --- files that are no network from image to image -----------------------------------------------------------------------------


def node(kind: str, inputs=("lq",), **options):
    return helper.make_node(kind, list(inputs), ["sr"], **options)


UNKNOWN = [helper.make_tensor_value_info("sr", TensorProto.FLOAT, None)]
HALF = numpy_helper.from_array(np.array([1, 1, 1.5, 1.5], np.float32), "s")
GREY = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")
CONSTANT = numpy_helper.from_array(np.ones((1, 3, 8, 8), np.float32), "c")
ODD = {
    "scalar": (model_of([node("ReduceMean", keepdims=0)], outputs=[value("sr", ())]), r"makes \(\) of \(1, 3, 16, 16\)"),
    "vector": (model_of([node("ReduceMean", axes=[1, 2, 3], keepdims=0)], outputs=UNKNOWN), r"is tensor\(float\) \['b'\]; images"),
    "sequence": (
        model_of([node("SequenceConstruct")], outputs=[helper.make_tensor_sequence_value_info("sr", TensorProto.FLOAT, None)]),
        r"the first output of .*, sr, is seq\(tensor\(float\)\); images, .* are wanted",
    ),
    "no input": (model_of([node("Identity", ["c"])], [], tensors=[CONSTANT]), "takes no input; one input"),
    "two inputs": (model_of([node("Add", ["lq", "z"])], [value("lq"), value("z")]), r"takes 2 inputs \(lq, z\); one input"),
    "no output": (model_of([node("Identity")], outputs=[]), "makes nothing, it has no output"),
    "rank 3": (model_of([node("Identity")], [value("lq", (3, "h", "w"))], UNKNOWN), r"takes tensor\(float\) \[3, 'h', 'w'\]"),
    "rank 5": (model_of([node("Identity")], [value("lq", (1, 1, 3, 4, 4))], UNKNOWN), r"takes tensor\(float\) \[1, 1, 3, 4, 4\]"),
    "float16": (model_of([node("Identity")], [value("lq", kind=10)], [value("sr", kind=10)]), r"takes tensor\(float16\)"),
    "bytes": (model_of([node("Identity")], [value("lq", kind=2)], [value("sr", kind=2)]), r"takes tensor\(uint8\)"),
    "integers out": (model_of([node("Cast", to=7)], outputs=[value("sr", kind=7)]), r"is tensor\(int64\) \['b', 3, 'h', 'w'\]"),
    "grey in": (model_of([node("Identity")], [value("lq", ("b", 1, "h", "w"))], UNKNOWN), "takes images of shape"),
    "grey out": (model_of([node("Conv", ["lq", "w"])], outputs=UNKNOWN, tensors=[GREY]), r"makes \(1, 1, 16, 16\)"),
    "half a scale": (
        model_of([node("Resize", ["lq", "", "s"], mode="nearest")], outputs=UNKNOWN, tensors=[HALF]),
        r"makes \(1, 3, 24, 24\) of \(1, 3, 16, 16\); that is no RGB image of a whole scale",
    ),
    "unknown operator": (model_of([node("Frobnicate")]), r"cannot be opened by ONNX Runtime [\d.]+ \(.*Frobnicate"),
    "fails when run": (
        model_of([node("Reshape", ["lq", "s"])], tensors=[numpy_helper.from_array(np.array([7, 3, 1, 1]), "s")]),
        r"cannot be run on images of shape \(1, 3, 16, 16\)",
    ),
}  # fmt: skip


def check_refused_everywhere(folder: Path, net: Path, faces: Path, message: str) -> None:
    """Benchmark, restoration and export say the same, in one line."""
    for run in (
        lambda: psnr(folder / "out", net, faces),
        lambda: open_networks(None, [str(net)]),
        lambda: export_network(str(net), folder / "new.onnx", check=str(faces)),
    ):
        with pytest.raises(WeightsError, match=message) as caught:
            run()
        assert net.parent.name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700
        assert "/onnxruntime/" not in str(caught.value)
    assert not (folder / "new.onnx").exists()


@pytest.mark.parametrize("what", ODD)
def test_other_kinds_of_networks(tmp_path, faces, what, capfd):
    model, message = ODD[what]
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    check_refused_everywhere(tmp_path, tmp_path / "net.onnx", faces, message)
    assert capfd.readouterr().err == ""  # the runtime, too, keeps quiet


def test_files_that_are_damaged(tmp_path, faces):
    whole = enlarger().SerializeToString()
    wrong = [whole[:length] for length in (0, 1, 17, len(whole) // 2, len(whole) - 1)]
    wrong += [b"nothing", b"<!DOCTYPE html>", b"\xff" * 64, b'{"a": 1}', bytes(100)]
    for content in wrong:
        (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(WeightsError, match=r"net\.onnx is not a readable ONNX file: it is damaged, cut off, or something else"):
            OnnxNetwork(tmp_path / "net.onnx").find_scale()
    check_refused_everywhere(tmp_path, tmp_path / "net.onnx", faces, "is not a readable ONNX file")


def test_any_damage_is_one_line(tmp_path, capfd):
    """Bytes changed at random: whatever comes of it is either a network or one clear error."""
    whole, rng, said = enlarger().SerializeToString(), np.random.default_rng(0), []
    for _ in range(100):
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), 8):
            content[at] = rng.integers(256)
        (tmp_path / "net.onnx").write_bytes(content)
        try:
            OnnxNetwork(tmp_path / "net.onnx").find_scale()
        except WeightsError as error:
            said.append(str(error))
    assert said
    assert not [line for line in said if "\n" in line]
    assert capfd.readouterr() == ("", "")


# --- what works ----------------------------------------------------------------------------------------------------------------


def test_a_network_for_batches_of_one_size_takes_any_number(tmp_path, faces):
    model = enlarger()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, str(tmp_path / "two.onnx"))
    onnx.save(enlarger(), str(tmp_path / "any.onnx"))
    two, any_size = OnnxNetwork(tmp_path / "two.onnx"), OnnxNetwork(tmp_path / "any.onnx")
    assert (two.batch, any_size.batch) == (2, None)
    images = np.random.default_rng(0).random((5, 3, 6, 4), np.float32)
    np.testing.assert_allclose(two.run(images)[0], any_size.run(images)[0], atol=1e-6)
    assert two.find_scale() == 8
    found = [psnr(tmp_path / name, tmp_path / f"{name}.onnx", faces)[0] for name in ("two", "any")]
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_short_numbers_come_out_as_float32(tmp_path):
    model = model_of([node("Cast", to=TensorProto.FLOAT16)], outputs=[value("sr", kind=TensorProto.FLOAT16)])
    onnx.save(model, str(tmp_path / "net.onnx"))
    found = OnnxNetwork(tmp_path / "net.onnx").run(np.full((1, 3, 2, 2), 0.5, np.float32))
    assert found[0].dtype == np.float32


def test_an_onnx_file_is_not_exported_again(tmp_path):
    onnx.save(enlarger(), str(tmp_path / "net.onnx"))
    with pytest.raises(UsageError, match=r"net\.onnx is an ONNX file; name a run"):
        export_network(str(tmp_path / "net.onnx"), tmp_path / "new.onnx")


def test_a_face_restored_by_a_network_in_two_files(tmp_path):
    save_apart(enlarger(), tmp_path / "net.onnx", "weights.bin")
    found = open_networks(None, [str(tmp_path / "net.onnx")])[8].run([np.full((16, 16, 3), 99, np.uint8)] * 3)
    assert [face.sr.shape for face in found] == [(128, 128, 3)] * 3
    Image.fromarray(found[0].sr)


def test_the_gpu_that_was_asked_for(tmp_path, faces, monkeypatch, caplog):
    import onnxruntime

    file, given = tmp_path / "net.onnx", []
    onnx.save(enlarger(), file)
    opened = onnxruntime.InferenceSession

    def note(*args, providers, **options):
        given.append(providers)
        return opened(*args, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    set_paths.say_once.cache_clear()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    OnnxNetwork(str(file), "cuda:1")
    assert given.pop() == ["CPUExecutionProvider"]
    assert "ONNX Runtime is without CUDA here, so net.onnx runs on the CPU" in caplog.text
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    for device, number in (("cuda:1", 1), ("cuda", 0)):
        OnnxNetwork(str(file), device)
        assert given.pop()[0] == ("CUDAExecutionProvider", {"device_id": number})
