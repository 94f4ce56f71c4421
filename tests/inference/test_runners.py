"""One runner for all: what benchmark, restore and the page make of LR faces is the same, whatever the form of the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.benchmark.test_benchmark import go
from tests.inference.test_onnx_networks import enlarger, onnx  # skips where these are not installed
from tests.restore.test_restore import BlueScreen, scene
from wnet_arch import create_network
from wnet_arch.demo.choices import Choices
from wnet_arch.errors import DataError
from wnet_arch.inference.runners import OnnxRunner, TorchRunner
from wnet_arch.restore import FaceRestorer


@pytest.fixture(params=[3, 4, 7])
def fixed(request, tmp_path):
    """Two files of one network: for batches of one size, and for any."""
    model = enlarger()
    onnx.save(model, str(tmp_path / "any.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = request.param
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    return tmp_path / "fixed.onnx", tmp_path / "any.onnx"


def test_a_file_for_batches_of_one_size_serves_every_command(fixed, face_set, tmp_path):
    """Five faces, which no batch of three, four or seven divides."""
    of_fixed, of_any = ([str(file)] for file in fixed)
    values = [go(tmp_path / name, [file], [face_set], batch=5)[0].values for name, (file,) in (("a", of_fixed), ("b", of_any))]
    for one, other in zip(*(list(found.values()) for found in values)):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    photo = scene(10, 10, 10, 10, 10)
    wanted = FaceRestorer(weights=of_any, detector=BlueScreen()).restore(photo)
    assert len(wanted.restored) == 5
    restored = FaceRestorer(weights=of_fixed, detector=BlueScreen()).restore(photo)
    choices = Choices(None, [of_fixed], detector=BlueScreen())
    shown = choices.restorer(choices.first).restore(photo)
    for found in (restored, shown):
        assert np.abs(found.image.astype(int) - wanted.image).max() <= 1


def test_torch_and_onnx_give_the_same_bytes(tmp_path):
    from wnet_arch.inference.onnx import OnnxNetwork

    torch.manual_seed(0)
    net = create_network("SRCNN", 8).eval()
    torch.onnx.export(net, (torch.zeros(1, 3, 16, 16),), str(tmp_path / "net.onnx"), input_names=["lq"], output_names=["sr"],
                      dynamic_axes={"lq": {0: "b"}, "sr": {0: "b"}}, dynamo=False)  # fmt: skip
    faces = list(np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8))
    runners = TorchRunner("SRCNN", 8, net), OnnxRunner("SRCNN", 8, OnnxNetwork(tmp_path / "net.onnx"))
    one, other = ([result.sr for result in runner.run(faces)] for runner in runners)
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(one, other)) <= 1
    alone = [runners[0].run([face])[0].sr for face in faces]
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(one, alone)) <= 1


def test_the_skin_map_comes_where_it_is_asked_for():
    torch.manual_seed(0)
    net = create_network("WNet", 8, peak=1, num_feat=8, num_heads=1).eval()
    face = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    without, asked = TorchRunner("W-Net", 8, net).run([face])[0], TorchRunner("W-Net", 8, net).run([face], skin=True)[0]
    assert without.skin is None or np.array_equal(without.skin, asked.skin)
    lq = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        parsing = net(lq, return_aux=True).parsing.mean(1)[0].numpy()
    np.testing.assert_allclose(asked.skin, parsing, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda lq: lq, r"odd x8 makes \(2, 3, 16, 16\) of first; \(2, 3, 128, 128\) was expected"),
        (lambda lq: lq.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, :1], r"makes \(2, 1, 128, 128\) of first"),
        (lambda lq: torch.full((2, 3, 128, 128), float("inf")), r"odd x8 makes values that are no numbers .* of first, second"),
    ],
)
def test_what_is_no_face_is_an_error_that_names_the_faces(make, message):
    faces = [np.zeros((16, 16, 3), np.uint8)] * 2
    with pytest.raises(DataError, match=message):
        TorchRunner("odd", 8, make).run(faces, ["first", "second"])
    with pytest.raises(DataError, match="odd x8 makes"):
        TorchRunner("odd", 8, make).run(faces)


def test_no_faces_are_no_work():
    assert TorchRunner("none", 8, lambda lq: lq).run([]) == []
