"""LPIPS against the lpips package, with random trunks always and with AlexNet's where it has been fetched."""

from __future__ import annotations

import os
import pickle

import lpips
import numpy as np
import pytest
import torch
import torchvision
from basicsr.metrics import calculate_metric

from tests.metric_faces import blurred, drawn, need_file, real, reduced
from wnet_arch import metrics
from wnet_arch.errors import DataError, UsageError, WeightsError
from wnet_arch.metrics import lpips as ours
from wnet_arch.weights.numpy_pickle import read_numpy_pickle

#: Where AlexNet's convolutions are in torchvision's network.
CONVOLUTIONS = (0, 3, 6, 8, 10)


@pytest.fixture(scope="module")
def trunk_file(tmp_path_factory) -> str:
    """A random AlexNet in torchvision's layout."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trunk") / "alexnet.pth"
    state = torchvision.models.alexnet(weights=None).state_dict()
    torch.save({name: value for name, value in state.items() if name.startswith("features.")}, path)
    return path


@pytest.fixture
def random_metric(trunk_file, monkeypatch):
    """The metric with the random trunk, on the CPU."""
    monkeypatch.setattr(ours, "find_trunk", lambda: ("random", trunk_file))
    ours._network.cache_clear()
    yield metrics.create("lpips", device="cpu")
    ours._network.cache_clear()


def package(trunk: dict[str, torch.Tensor]) -> lpips.LPIPS:
    """The package's network with these convolutions (torchvision's names)."""
    net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    layers = [layer for layer in net.net.modules() if isinstance(layer, torch.nn.Conv2d)]
    with torch.no_grad():
        for layer, index in zip(layers, CONVOLUTIONS):
            layer.weight.copy_(trunk[f"features.{index}.weight"])
            layer.bias.copy_(trunk[f"features.{index}.bias"])
    return net


def by_package(net: lpips.LPIPS, sr: list, gt: list) -> list[float]:
    """One pair at a time, converted by the package's own function."""
    with torch.no_grad():
        return [net(lpips.im2tensor(one), lpips.im2tensor(other)).item() for one, other in zip(sr, gt)]


def test_equals_the_package_with_a_random_trunk(random_metric, trunk_file):
    gt = drawn(5)
    sr = [reduced(image, 4) for image in gt]
    expected = by_package(package(torch.load(trunk_file, weights_only=True)), sr, gt)
    np.testing.assert_allclose(random_metric.measure(sr, gt)["lpips"], expected, rtol=0, atol=1e-6)
    assert min(expected) > 1e-3


def test_equals_the_package_on_real_faces_with_alexnet():
    need_file("alexnet-jax")
    gt = real(24)
    sr = [reduced(image) if i % 2 else reduced(image, 4) for i, image in enumerate(gt)]
    name, path = ours.find_trunk()
    trunk = ours.read_trunk(path)
    named = {f"features.{index}.{k}": trunk[f"{i}.{k}"] for i, index in enumerate(CONVOLUTIONS) for k in ("weight", "bias")}
    metric = metrics.create("lpips", device="cpu")
    values = metric.measure(sr, gt)["lpips"]
    np.testing.assert_allclose(values, by_package(package(named), sr, gt), rtol=0, atol=1e-6)
    assert values[1::2].mean() > values[::2].mean() > 0.1  # x8 is worse than x4
    assert name in metric.backbone


def test_equal_images_are_at_distance_zero_and_blur_adds_to_it(random_metric):
    gt = drawn(2)
    means = [random_metric.measure([blurred(image, sigma) for image in gt], gt)["lpips"].mean() for sigma in (0, 1, 2, 4)]
    assert means[0] == 0
    assert means == sorted(means)


def test_value_does_not_depend_on_what_else_is_measured(random_metric):
    gt = drawn(18)
    sr = [reduced(image) for image in gt]
    together = random_metric.measure(sr, gt)["lpips"]
    assert together.shape == (18,)
    assert random_metric.measure(sr[:1], gt[:1])["lpips"] == together[:1]
    assert (random_metric.measure(sr[15:], gt[15:])["lpips"] == together[15:]).all()
    mixed = random_metric.measure([sr[0], sr[1][:96], sr[2]], [gt[0], gt[1][:96], gt[2]])["lpips"]
    assert (mixed[[0, 2]] == together[[0, 2]]).all()
    assert mixed[1] != together[1]


def test_framework_gives_bgr(random_metric):
    gt = drawn(1)[0]
    sr = reduced(gt)
    value = calculate_metric(
        {"img": sr[..., ::-1], "img2": gt[..., ::-1]}, {"type": "calculate_lpips", "device": "cpu", "better": "lower"}
    )
    assert value == pytest.approx(random_metric.measure([sr], [gt])["lpips"][0], abs=1e-6)
    assert abs(value - random_metric.measure([sr[..., ::-1]], [gt[..., ::-1]])["lpips"][0]) > 1e-5
    with pytest.raises(UsageError, match="better must be lower, not higher"):
        calculate_metric({"img": sr, "img2": gt}, {"type": "calculate_lpips", "better": "higher"})


def test_network_is_built_once(random_metric):
    assert metrics.create("lpips", device="cpu").net is random_metric.net


def test_wrong_input_ends_in_one_line(random_metric):
    small = np.zeros((30, 40, 3), np.uint8)
    with pytest.raises(DataError, match="40x30 are too small"):
        random_metric.measure([small], [small])
    with pytest.raises(UsageError, match="no trunk is called 'alexx'; did you mean 'alex'"):
        metrics.create("lpips", net="alexx")
    with pytest.raises(UsageError, match="device 'gpu' cannot be used"):
        metrics.create("lpips", device="gpu")
    with pytest.raises(UsageError, match="batch must be a positive whole number, not 0"):
        metrics.create("lpips", device="cpu", batch=0)


def test_both_containers_of_the_trunk_hold_the_same(trunk_file, tmp_path):
    state = torch.load(trunk_file, weights_only=True)
    layers = {
        f"Conv_{i}": {
            "kernel": state[f"features.{index}.weight"].permute(2, 3, 1, 0).numpy(),
            "bias": state[f"features.{index}.bias"].numpy(),
        }
        for i, index in enumerate(CONVOLUTIONS)
    }
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps({"AlexNet_0": layers}))
    one, other = ours.read_trunk(trunk_file), ours.read_trunk(path)
    assert len(one) == 10
    for name, value in one.items():
        assert torch.equal(value, other[name])


def test_a_file_without_alexnet_is_named(tmp_path):
    for name, content in {"a.ckpt": pickle.dumps({"VGG": 1}), "b.ckpt": b"nonsense", "c.pth": b"nonsense"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name) as error:
            ours.read_trunk(tmp_path / name)
        assert "\n" not in str(error.value)


def test_trunk_in_the_cache_is_taken_before_anything_is_fetched(tmp_path, monkeypatch):
    asked = []

    def resolve(name):
        asked.append(name)
        if name == "alexnet":
            raise WeightsError("no server")
        return tmp_path / name

    monkeypatch.setenv("WNET_CACHE", str(tmp_path))
    monkeypatch.setattr(ours.weights, "resolve", resolve)
    assert ours.find_trunk() == ("alexnet-jax", tmp_path / "alexnet-jax")
    assert asked == ["alexnet", "alexnet-jax"]
    (tmp_path / "alexnet.ckpt").touch()
    asked.clear()
    assert ours.find_trunk()[0] == "alexnet-jax"
    assert asked == ["alexnet-jax"]


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("content", [Harmful(), {"a": np.rec.array([(1, 2.0)])}, {"a": torch.zeros(1)}])
def test_pickles_of_anything_but_arrays_are_refused_unrun(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=r"x\.ckpt is not a pickle of numpy arrays"):
        read_numpy_pickle(tmp_path / "x.ckpt")
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_pickled_arrays_come_back(tmp_path):
    for protocol in (3, 4):
        content = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": [np.asfortranarray(np.eye(2, 3))]}
        (tmp_path / "x").write_bytes(pickle.dumps(content, protocol))
        read = read_numpy_pickle(tmp_path / "x")
        assert (read["a"] == content["a"]).all()
        assert (read["b"][0] == content["b"][0]).all()
    with pytest.raises(WeightsError, match="cannot be read"):
        read_numpy_pickle(tmp_path / "absent")
