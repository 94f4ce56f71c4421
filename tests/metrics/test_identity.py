"""Identity similarity: dlib's network against dlib, checkpoints of ArcFace's and AdaFace's layout, behaviour on faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from basicsr.metrics import calculate_metric
from torch import nn

from tests.metric_faces import blurred, need_file, real
from wnet_arch import metrics
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.metrics import arcface, found_faces, identity
from wnet_arch.metrics.dlib_resnet import DlibResNet
from wnet_arch.metrics.found_faces import FaceFinder, Points

#: Points of an upright face of 128 pixels, of which only these matter: eyes, nose, mouth corners.
FIVE = np.array(((44.0, 60.0), (84.0, 58.0), (65.0, 80.0), (50.0, 104.0), (82.0, 102.0)), np.float32)


def points68() -> np.ndarray:
    points = np.zeros((68, 2), np.float32)
    points[36:42], points[42:48], points[30], points[48], points[54] = FIVE
    return points


@pytest.fixture
def found(monkeypatch):
    """Every image shows a face with the points above, except black ones."""

    def find(self, images, reference=None):
        missing = np.array([not image.any() for image in images])[:, None]
        boxes = np.where(missing, np.nan, np.full((len(images), 4), 50.0))
        return Points(np.where(missing[..., None], np.nan, np.stack([points68()] * len(images))), boxes)

    monkeypatch.setattr(found_faces, "LandmarkDetector", lambda **_: None)
    monkeypatch.setattr(FaceFinder, "find", find)


def random_ir50(adaface: bool) -> dict[str, torch.Tensor]:
    """A checkpoint of an IR-50 by the names in it, half precision to be small."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def conv(name, *shape):
        state[f"{name}.weight"] = torch.randn(*shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5

    def norm(name, channels, affine=True):
        state[f"{name}.running_mean"] = torch.randn(channels, generator=generator) * 0.1
        state[f"{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        if affine:
            state[f"{name}.weight"] = torch.rand(channels, generator=generator) + 0.5
            state[f"{name}.bias"] = torch.randn(channels, generator=generator) * 0.1

    def prelu(name, channels):
        state[f"{name}.weight"] = torch.rand(channels, generator=generator) * 0.5

    conv("input_layer.0", 64, 3, 3, 3)
    norm("input_layer.1", 64)
    prelu("input_layer.2", 64)
    inputs, index = 64, 0
    for depth, units in ((64, 3), (128, 4), (256, 14), (512, 3)):
        for _ in range(units):
            layer = f"body.{index}.res_layer"
            if inputs != depth:
                conv(f"body.{index}.shortcut_layer.0", depth, inputs, 1, 1)
                norm(f"body.{index}.shortcut_layer.1", depth)
            norm(f"{layer}.0", inputs)
            conv(f"{layer}.1", depth, inputs, 3, 3)
            if adaface:
                norm(f"{layer}.2", depth)
            prelu(f"{layer}.{2 + adaface}", depth)
            conv(f"{layer}.{3 + adaface}", depth, depth, 3, 3)
            norm(f"{layer}.{4 + adaface}", depth)
            inputs, index = depth, index + 1
    norm("output_layer.0", 512)
    conv("output_layer.3", 512, 512 * 7 * 7)
    state["output_layer.3.bias"] = torch.randn(512, generator=generator) * 0.1
    norm("output_layer.4", 512, affine=not adaface)
    return {name: value.half() for name, value in state.items()}


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor, adaface: bool) -> torch.Tensor:
    """The network of a checkpoint, layer by layer."""
    state = {name: value.float() for name, value in state.items()}

    def norm(y, name):
        scale, offset = state.get(f"{name}.weight"), state.get(f"{name}.bias")
        return F.batch_norm(y, state[f"{name}.running_mean"], state[f"{name}.running_var"], scale, offset)

    y = F.prelu(norm(F.conv2d(x, state["input_layer.0.weight"], padding=1), "input_layer.1"), state["input_layer.2.weight"])
    for index in range(24):
        layer, stride = f"body.{index}.res_layer", 2 if index in (0, 3, 7, 21) else 1
        if f"body.{index}.shortcut_layer.0.weight" in state:
            shortcut = F.conv2d(y, state[f"body.{index}.shortcut_layer.0.weight"], stride=stride)
            shortcut = norm(shortcut, f"body.{index}.shortcut_layer.1")
        else:
            shortcut = y[..., ::stride, ::stride]
        z = F.conv2d(norm(y, f"{layer}.0"), state[f"{layer}.1.weight"], padding=1)
        z = norm(z, f"{layer}.2") if adaface else z
        z = F.prelu(z, state[f"{layer}.{2 + adaface}.weight"])
        z = F.conv2d(z, state[f"{layer}.{3 + adaface}.weight"], stride=stride, padding=1)
        y = shortcut + norm(z, f"{layer}.{4 + adaface}")
    y = norm(y, "output_layer.0").flatten(1)
    return F.normalize(norm(F.linear(y, state["output_layer.3.weight"], state["output_layer.3.bias"]), "output_layer.4"))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two random checkpoints as their authors publish them, and their weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    states = {"arcface": random_ir50(False), "adaface": random_ir50(True)}
    torch.save(states["arcface"], folder / "arcface")
    lightning = {f"model.{name}": value for name, value in states["adaface"].items()}
    lightning["head.kernel"] = torch.zeros(512, 10)
    torch.save({"state_dict": lightning, "epoch": 3}, folder / "adaface")
    return {name: (str(folder / name), state) for name, state in states.items()}


@pytest.mark.parametrize("backend", ["arcface", "adaface"])
def test_checkpoint_gives_what_its_layers_say(checkpoints, backend):
    path, state = checkpoints[backend]
    net, name = arcface.load(path)
    x = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(net(x), by_hand(state, x, backend == "adaface"), rtol=1e-4, atol=1e-5)
    assert name == "IR-50"
    assert not net.training


def test_adaface_is_given_bgr_and_arcface_rgb(checkpoints, found):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (128, 128, 3), np.uint8)
    for backend, (path, state) in checkpoints.items():
        metric = metrics.create("identity", backend=backend, weights=path, device="cpu", batch=1)
        aligned = torch.from_numpy(arcface.align(rgb, points68()).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        expected = by_hand(state, aligned.flip(1) if backend == "adaface" else aligned, backend == "adaface")
        np.testing.assert_allclose(metric.describe([rgb]).vectors, expected.numpy(), atol=1e-4)
        assert f"{backend}".lower() in metric.backbone.lower()
        assert "IR-50" in metric.backbone


def test_missing_faces_are_nan_in_their_place(checkpoints, found):
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
    black = np.zeros_like(one)
    metric = metrics.create("identity", backend="arcface", weights=checkpoints["arcface"][0], device="cpu", batch=2)
    values = metric.measure([one, black, one, one], [one, one, black, other])["identity"]
    assert values[0] == pytest.approx(1, abs=1e-6)
    assert np.isnan(values[1:3]).all()
    assert -1 <= values[3] < 0.999
    assert np.isnan(metric.measure([black], [black])["identity"]).all()
    expected = sum(a * b for a, b in zip(*(metric.describe([image]).vectors[0].astype(float) for image in (one, other))))
    assert values[3] == pytest.approx(expected)


def test_alignment_moves_the_five_points_onto_the_template():
    for points in (FIVE, FIVE[:, ::-1] * (1, -1) + (0, 128)):  # upright, and turned by 90 degrees
        for index, (x, y) in enumerate(points):
            image = np.zeros((128, 128, 3), np.uint8)
            rows, columns = np.mgrid[:128, :128]
            image[...] = (255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18))[..., None].astype(np.uint8)
            full = np.zeros((68, 2))
            full[36:42], full[42:48], full[30], full[48], full[54] = points
            aligned = arcface.align(image, full)[..., 0].astype(float)
            rows, columns = np.mgrid[:112, :112]
            centre = np.array(((aligned * columns).sum(), (aligned * rows).sum())) / aligned.sum()
            assert np.linalg.norm(centre - arcface.TEMPLATE[index]) < 4  # a similarity cannot fit five points exactly
    straight = np.zeros((68, 2))
    straight[36:42], straight[42:48], straight[30], straight[48], straight[54] = arcface.TEMPLATE
    picture = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    assert (np.abs(arcface.align(picture, straight).astype(int) - picture) <= 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("body.5.res_layer.1.weight"), "body.5.res_layer.1.weight is missing"),
        (lambda s: s.update({"body.0.extra.weight": torch.zeros(1)}), "body.0.extra.weight is unexpected"),
        (lambda s: s.update({"output_layer.3.bias": torch.zeros(3)}), r"output_layer.3.bias is \[3\], not \[512\]"),
        (lambda s: s.pop("input_layer.0.weight"), "is not an ArcFace or AdaFace IR network with 24, 49 or 50 blocks"),
        (lambda s: s.update({"body.24.res_layer.1.weight": torch.zeros(1)}), "with 24, 49 or 50 blocks"),
    ],
)
def test_checkpoint_of_another_network_names_what_differs(checkpoints, tmp_path, change, message):
    state = dict(checkpoints["arcface"][1])
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=message) as error:
        arcface.load(str(tmp_path / "x.pth"))
    assert "\n" not in str(error.value)


def test_wrong_options_end_in_one_line(found, tmp_path):
    with pytest.raises(UsageError, match="no backend is called 'adafase'; did you mean 'adaface'"):
        metrics.create("identity", backend="adafase")
    with pytest.raises(UsageError, match="backend adaface needs weights"):
        metrics.create("identity", backend="adaface")
    with pytest.raises(UsageError, match="backend dlib takes no weights"):
        metrics.create("identity", weights="x.pth")
    with pytest.raises(WeightsError, match="there is no weights file"):
        metrics.create("identity", backend="arcface", weights=str(tmp_path / "absent.pth"))
    image = np.zeros((128, 128, 3), np.uint8)
    with pytest.raises(UsageError, match="no option 'backnd'; did you mean 'backend'"):
        calculate_metric({"img": image, "img2": image}, {"type": "calculate_identity_similarity", "backnd": "dlib"})


def test_dlibs_network_adds_with_zeros_where_sizes_differ():
    """The halving block of dlib against sums written out, on an odd and an even image."""
    net = DlibResNet()
    block = next(b for b in net.blocks if b.halve)
    for side in (8, 9):
        x = torch.rand(1, block.first.in_channels, side, side)
        y = F.relu(block.first(x))
        y = block.second(y)
        expected = torch.zeros(1, 64, side // 2, side // 2)
        expected[:, :32] += F.avg_pool2d(x, 2)
        expected[..., : y.shape[-2], : y.shape[-1]] += y
        torch.testing.assert_close(block(x), F.relu(expected))


def test_a_damaged_dlib_file_is_named(tmp_path):
    for content in (b"", b"\x05con_4\x01\x02\x01\x04\x01\x01\x01\x01\x01\x01" + bytes(16), bytes(1000)):
        (tmp_path / "x.dat").write_bytes(content)
        with pytest.raises(WeightsError, match="does not hold dlib's face recognition network"):
            DlibResNet().load(tmp_path / "x.dat")
    with pytest.raises(WeightsError, match="cannot be read"):
        DlibResNet().load(tmp_path / "absent.dat")


@pytest.fixture(scope="module")
def faces():
    """Real faces that dlib finds."""
    pytest.importorskip("dlib", reason="dlib is not installed (extra 'landmarks')")
    need_file("landmarks68-dlib")
    need_file("identity-dlib")
    gt = real(25)
    boxes = FaceFinder().find(gt).boxes
    return [image for image, box in zip(gt, boxes) if not np.isnan(box).any()]


def test_dlibs_network_equals_dlibs_own(faces):
    import dlib

    chips = [identity.dlib_chip(face, points) for face, points in zip(faces[:6], FaceFinder().find(faces[:6]).points)]
    reference = dlib.face_recognition_model_v1(need_file("identity-dlib"))
    expected = np.array([reference.compute_face_descriptor(chip) for chip in chips])
    net = DlibResNet().load(need_file("identity-dlib"))
    ours = net(torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=5e-6)
    assert isinstance(net, nn.Module)


@pytest.mark.parametrize("box", ["own", "gt"])
def test_a_photo_is_itself_and_blur_makes_it_less_so(faces, box):
    metric = metrics.create("identity", box=box, device="cpu")
    np.testing.assert_allclose(metric.measure(faces, faces)["identity"], 1, atol=1e-6)
    if box == "gt":
        means = [metric.measure([blurred(face, s) for face in faces], faces)["identity"].mean() for s in (1, 2, 4, 6)]
        assert means == sorted(means, reverse=True)


def test_photos_of_different_people_are_told_apart(faces):
    metric = metrics.create("identity", device="cpu")
    changed = [np.clip(face[:, ::-1].astype(int) * 0.8 + 20, 0, 255).astype(np.uint8) for face in faces]  # mirrored and pale
    same = metric.measure(changed, faces)["identity"]
    others = metric.measure(faces[1:] + faces[:1], faces)["identity"]
    auc = np.mean(same[~np.isnan(same)][:, None] > others)
    assert np.isnan(same).sum() <= 2
    assert auc > 0.98
