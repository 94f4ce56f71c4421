"""``wnet benchmark --maps``: what a network makes of a face with another parsing map than its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.benchmark.test_benchmark import go
from tests.conftest import drawn_face, write_folders
from wnet_arch import create_network
from wnet_arch.data.decoding import image_tensor
from wnet_arch.errors import DataError, NetworkError, UsageError
from wnet_arch.faces import labels
from wnet_arch.inference.test_sets import open_set
from wnet_arch.metrics import protocols

OPTIONS = {
    "WNet": {"peak": 1, "num_feat": 8, "num_heads": 1},
    "WNetLite": {"num_feat": 32, "depths": [1, 1, 1, 1], "attention": False},
}


def weights_of(folder, name: str, **more):
    torch.manual_seed(3)
    options = {**OPTIONS[name], **more}
    net = create_network(name, 8, **options).eval()
    with torch.no_grad():  # a fresh WNetLite gives the enlarged face, whatever its map
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    path = folder / f"{name}_mine.safetensors"
    save_file(net.state_dict(), str(path), {"network_g": json.dumps({"type": name, "scale": 8, **options}), "scale": "8"})
    return net, path


def by_hand(net, test_set, kind: str) -> list[float]:
    """PSNR of each face, with the maps made here."""
    faces = [image_tensor(test_set.lr(key, 8))[None] for key in test_set.keys]
    found = []
    for index, key in enumerate(test_set.keys):
        with torch.inference_mode():
            if kind == "zeros":
                parsing = torch.zeros(1, 3, *test_set.size)
            elif kind == "true":
                parsing = torch.from_numpy(np.float32(test_set.labels(key) == labels.SKIN)).repeat(1, 3, 1, 1)
            else:
                parsing = net(faces[(index + 1) % len(faces)], return_aux=True).parsing
            sr = net(faces[index], parsing=parsing)[0].clamp(0, 1)
        image = (sr * 255).round().byte().permute(1, 2, 0).numpy()
        found.append(protocols.get("dic").psnr(image, test_set.hr(key), 8))
    return found


@pytest.mark.parametrize("name", ["WNet", "WNetLite"])
def test_each_map_is_measured_beside_the_networks_own(name, face_set, tmp_path):
    net, path = weights_of(tmp_path, name)
    results, _ = go(tmp_path / "out", ["Bicubic", f"mine={path}"], [face_set], maps=("zeros", "other", "true"))
    assert [one.name for one in results.networks] == ["Bicubic", "mine", "mine, map: zeros", "mine, map: other", "mine, map: true"]
    test_set = open_set(str(face_set), "faces", [8])
    for kind in ("zeros", "other", "true"):
        values = results.values["faces", 8, f"mine, map: {kind}"][:, 0]
        assert values == pytest.approx(by_hand(net, test_set, kind), abs=2e-3)
        assert not np.allclose(values, results.values["faces", 8, "mine"][:, 0], atol=1e-3)
    assert "mine, map: true" in (tmp_path / "out" / "table.md").read_text()


def test_results_of_one_set_are_not_taken_for_those_of_another(face_set, tmp_path):
    _, path = weights_of(tmp_path, "WNetLite")
    maps = {"maps": ("other",)}
    all_faces, _ = go(tmp_path / "out", [f"mine={path}"], [face_set], **maps)
    three, _ = go(tmp_path / "out", [f"mine={path}"], [face_set], limit=3, **maps)
    fresh, _ = go(tmp_path / "fresh", [f"mine={path}"], [face_set], limit=3, **maps)
    key = "faces", 8, "mine, map: other"
    np.testing.assert_array_equal(three.values[key], fresh.values[key])
    assert three.values[key][2, 0] != all_faces.values[key][2, 0]  # the next face of the third is the first now


def test_a_second_run_computes_nothing(face_set, tmp_path):
    _, path = weights_of(tmp_path, "WNetLite")
    first, _ = go(tmp_path / "out", [f"mine={path}"], [face_set], maps=("true", "zeros"))
    second, run = go(tmp_path / "out", [f"mine={path}"], [face_set], maps=("true", "zeros"))
    assert run.computed == 0
    assert all(np.array_equal(second.values[key], first.values[key]) for key in first.values)


def test_what_takes_no_map_is_said(face_set, tmp_path):
    _, path = weights_of(tmp_path, "WNetLite", parsing=False)
    with pytest.raises(UsageError, match="--maps: none of these networks takes a parsing map"):
        go(tmp_path / "out", ["Bicubic", f"mine={path}"], [face_set], maps=("zeros",))
    with pytest.raises(NetworkError, match="parsing: false; it takes no map"):
        create_network("WNetLite", 8, **OPTIONS["WNetLite"], parsing=False)(
            torch.zeros(1, 3, 16, 16), parsing=torch.zeros(1, 3, 128, 128)
        )
    with pytest.raises(NetworkError, match="WNetLite x8 takes parsing of shape"):
        create_network("WNetLite", 8, **OPTIONS["WNetLite"])(torch.zeros(1, 3, 16, 16), parsing=torch.zeros(1, 3, 16, 16))


def test_a_set_that_cannot_serve_is_refused_before_anything_runs(face_set, tmp_path):
    from PIL import Image

    _, path = weights_of(tmp_path, "WNetLite")
    test_set = open_set(str(face_set), "faces", [8])
    folder = tmp_path / "plain"
    folder.mkdir()
    for key in test_set.keys[:2]:
        Image.fromarray(test_set.hr(key)).save(folder / f"{key}.png")
    with pytest.raises(DataError, match="--maps true: plain has no parsing maps"):
        go(tmp_path / "out", [f"mine={path}"], [folder], maps=("true",))
    with pytest.raises(DataError, match="--maps other: plain has one face only"):
        go(tmp_path / "out", [f"mine={path}"], [folder], maps=("other",), limit=1)


def test_another_neighbour_is_another_map(tmp_path):
    """The face is the same, and the one whose map it gets is not."""
    _, path = weights_of(tmp_path, "WNetLite")
    faces = write_folders(tmp_path / "hr", 3) / "gt"
    maps = {"maps": ("other",)}
    first, _ = go(tmp_path / "out", [f"mine={path}"], [faces], **maps)
    Image.fromarray(drawn_face(9)[0]).save(faces / "face001.png")
    second, _ = go(tmp_path / "out", [f"mine={path}"], [faces], **maps)
    fresh, _ = go(tmp_path / "fresh", [f"mine={path}"], [faces], **maps)
    key = "gt", 8, "mine, map: other"
    np.testing.assert_array_equal(second.values[key], fresh.values[key])
    assert second.values[key][0, 0] != first.values[key][0, 0]
