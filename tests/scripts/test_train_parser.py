"""The script that trains the shipped face parser: what it learns from, what it counts, and that it continues exactly."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import load_script
from wnet_arch.faces import labels
from wnet_arch.faces.parser_net import ParserNet


@pytest.fixture(scope="module")
def script():
    return load_script("zoo/train_parser")


def _pair(side: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """A photo whose red channel tells the class: left eye on the right, right eye on the left, skin around."""
    classes = np.full((side, side), labels.SKIN, np.uint8)
    classes[50:80, 30:60] = labels.R_EYE
    classes[50:80, 100:130] = labels.L_EYE
    photo = np.zeros((side, side, 3), np.uint8)
    photo[..., 0] = classes * 30
    return photo, classes


def test_map_follows_the_photo_through_every_augmentation(script, monkeypatch):
    """Where the photo shows an eye's colour, the map says which eye; mirrored photos exchange the eyes."""
    monkeypatch.setattr(script, "recolour", lambda photo, rng: photo)
    monkeypatch.setattr(script, "degrade", lambda photo, rng: photo)
    photo, classes = _pair()
    mirrored = 0
    for seed in range(40):
        seen, found = script.augment(photo, classes, np.random.default_rng(seed))
        assert seen.shape == (128, 128, 3)
        assert found.shape == (128, 128)
        right, left = np.argwhere(found == labels.R_EYE).mean(0), np.argwhere(found == labels.L_EYE).mean(0)
        assert right[1] < left[1]  # mirroring moved the eyes and exchanged their names
        values = {c: np.median(seen[..., 0][found == c]) for c in (labels.SKIN, labels.R_EYE, labels.L_EYE)}
        assert values[labels.SKIN] == 30
        swapped = values[labels.R_EYE] == labels.L_EYE * 30
        assert {values[labels.R_EYE], values[labels.L_EYE]} == {labels.R_EYE * 30, labels.L_EYE * 30}
        mirrored += swapped
    assert 8 < mirrored < 32


def test_degraded_photos_keep_shape_and_range(script):
    photo, _ = _pair(128)
    changed = 0
    for seed in range(60):
        result = script.degrade(script.recolour(photo, np.random.default_rng(seed)), np.random.default_rng(seed))
        assert result.shape == photo.shape
        assert result.dtype == np.uint8
        changed += not np.array_equal(result, photo)
    assert changed > 50


def test_iou_is_that_of_the_definition(script):
    """A network which calls both eyes 'right eye' on maps known pixel by pixel."""
    photo, classes = _pair(128)
    told = np.where(classes == labels.L_EYE, labels.R_EYE, classes)

    class Told(torch.nn.Module):
        def forward(self, x):
            scores = torch.nn.functional.one_hot(torch.from_numpy(told).long(), 19).permute(2, 0, 1).float()
            return scores.expand(len(x), -1, -1, -1)

    table = script.iou_table(Told(), photo[None], classes[None])
    eyes = (classes == labels.R_EYE).sum(), (classes == labels.L_EYE).sum()
    assert table["skin"] == 1
    assert table["l_eye"] == 0
    assert table["r_eye"] == pytest.approx(eyes[0] / sum(eyes))
    assert table["[eyes]"] == pytest.approx(table["r_eye"] / 2)
    assert np.isnan(table["nose"])  # in neither map


def test_network_gives_scores_at_the_size_of_the_photo():
    net = ParserNet(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1)).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 3, 64, 96)).shape == (2, 19, 64, 96)


def test_unknown_pixels_teach_nothing(script):
    scores = torch.randn(1, 19, 16, 16, requires_grad=True)
    classes = torch.full((1, 16, 16), labels.SKIN)
    classes[:, :8] = labels.UNKNOWN
    script.loss_of(scores, classes).backward()
    assert scores.grad[:, :, :8].abs().max() == 0
    assert scores.grad[:, :, 8:].abs().max() > 0


@pytest.fixture
def celebamask(tmp_path) -> Path:
    """Twelve small pairs."""
    photo, classes = _pair()
    for folder, image, suffix in (("images", photo, "jpg"), ("labels", classes, "png")):
        (tmp_path / folder).mkdir()
        for index in range(12):
            Image.fromarray(np.roll(image, index, 1)).save(tmp_path / folder / f"{index:04}.{suffix}")
    return tmp_path


def test_interrupted_run_continues_to_the_same_weights(script, celebamask, tmp_path, monkeypatch):
    """Interrupted behind its first save and started again: the weights and the curve are those of an unbroken run."""
    monkeypatch.setattr(script, "HELD_OUT", 4)

    def train(name):
        args = {"iterations": 4, "batch": 2, "every": 2, "lr": 3e-3, "seed": 0}
        script.train(argparse.Namespace(root=celebamask, out=tmp_path / name, **args))
        return load_file(tmp_path / name / "face_parser.safetensors")

    whole = train("whole")
    step = script.Run.train_step

    def power_cut(self, *batch):
        if self.step == 3:
            raise KeyboardInterrupt
        return step(self, *batch)

    with monkeypatch.context() as broken:
        broken.setattr(script.Run, "train_step", power_cut)
        with pytest.raises(KeyboardInterrupt):
            train("cut")
    continued = train("cut")
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    curves = [(tmp_path / name / "curve.csv").read_text().splitlines() for name in ("whole", "cut")]
    assert [len(curve) for curve in curves] == [3, 3]
    assert curves[0][1] == curves[1][1]
    assert (tmp_path / "cut" / "curve.png").stat().st_size > 1000


def test_too_few_photos_end_in_one_line(script, tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(SystemExit, match="has 0 photos: more than 500 are needed"):
        script.read_pairs(tmp_path)
