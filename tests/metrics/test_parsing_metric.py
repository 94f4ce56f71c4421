"""Parsing IoU: its arithmetic on maps made by hand, and the parsers behind it on faces."""

from __future__ import annotations

import numpy as np
import pytest
from basicsr.metrics import calculate_metric

from tests.conftest import drawn_face
from tests.metric_faces import blurred, need_file, real
from wnet_arch import metrics
from wnet_arch.errors import DataError, UsageError
from wnet_arch.faces import labels
from wnet_arch.metrics import parsing
from wnet_arch.metrics.parsing import Maps


class MadeUpParser:
    """Reads the class of each pixel from its red value."""

    name, needs_points = "made up", False

    def __init__(self):
        self.batches = []

    def parse_batch(self, rgbs, points=None):
        self.batches.append(len(rgbs))
        return [rgb[..., 0].copy() for rgb in rgbs]


@pytest.fixture
def made_up(monkeypatch):
    parser = MadeUpParser()
    monkeypatch.setattr(parsing, "create_parser", lambda name, device: parser)
    metrics.registered._create.cache_clear()
    yield parser
    metrics.registered._create.cache_clear()


def picture(labels_map: np.ndarray) -> np.ndarray:
    return np.stack([labels_map, np.zeros_like(labels_map), np.zeros_like(labels_map)], 2)


def counted(one: np.ndarray, other: np.ndarray, classes: set) -> float:
    """IoU pixel by pixel."""
    both = either = 0
    for a, b in zip(one.ravel().tolist(), other.ravel().tolist()):
        if 255 not in (a, b):
            both += a in classes and b in classes
            either += a in classes or b in classes
    return both / either if either else float("nan")


def test_iou_is_counted_pixel_by_pixel_and_sides_are_one_part(made_up):
    gt = [drawn_face(seed)[1] for seed in range(3)]
    sr = [np.roll(labels_map, 3, axis=1) for labels_map in gt]
    sr[1][20:40, 20:40] = labels.UNKNOWN
    sr[2][sr[2] == labels.L_EYE] = labels.R_EYE  # another side is the same part
    values = metrics.create("parsing").measure([picture(m) for m in sr], [picture(m) for m in gt])
    assert list(values) == list(metrics.create("parsing").units)
    parts = {"skin": {1}, "eyes": {4, 5}, "brows": {6, 7}, "nose": {2}, "mouth": {10, 11, 12}}
    for i in range(3):
        expected = {part: counted(sr[i], gt[i], classes) for part, classes in parts.items()}
        for part, value in expected.items():
            assert values[f"parsing_iou_{part}"][i] == pytest.approx(value, nan_ok=True)
        assert values["parsing_iou"][i] == pytest.approx(np.nanmean(list(expected.values())))
    assert 0 < values["parsing_iou"].min() < values["parsing_iou"].max() < 1


def test_a_part_in_neither_map_is_nan_and_one_in_a_single_map_is_zero(made_up):
    skin = np.full((16, 16), labels.SKIN, np.uint8)
    nose = skin.copy()
    nose[4:8, 4:8] = labels.NOSE
    values = metrics.create("parsing").measure([picture(skin)], [picture(nose)])
    assert values["parsing_iou_nose"] == 0
    assert values["parsing_iou_skin"] == 240 / 256
    assert np.isnan(values["parsing_iou_eyes"]).all()
    assert values["parsing_iou"] == (0 + 240 / 256) / 2
    unknown = np.full_like(skin, labels.UNKNOWN)
    assert np.isnan(metrics.create("parsing").measure([picture(unknown)], [picture(nose)])["parsing_iou"]).all()


def test_true_maps_can_stand_for_the_gt(made_up):
    _gt, true = drawn_face(0)
    metric = metrics.create("parsing")
    described = metric.describe([picture(true), picture(np.zeros_like(true))])
    values = metric.compare(described, Maps([true, true]))["parsing_iou"]
    assert values.tolist() == [1, 0]
    with pytest.raises(DataError, match="parsing maps of 64x64 and 32x64 pixels"):
        metric.compare(described[:1], Maps([true[:, :32]]))


def test_parser_runs_in_batches_and_keeps_the_order(made_up):
    maps = [np.full((8, 8), i % 19, np.uint8) for i in range(21)]
    described = metrics.create("parsing", batch=8).describe([picture(m) for m in maps])
    assert made_up.batches == [8, 8, 8]
    assert all((a == b).all() for a, b in zip(described.maps, maps))


def test_framework_gets_the_mean_or_one_part(made_up):
    skin = np.full((16, 16), labels.SKIN, np.uint8)
    nose = skin.copy()
    nose[:8] = labels.NOSE
    data = {"img": picture(skin)[..., ::-1], "img2": picture(nose)[..., ::-1]}
    block = {"type": "calculate_parsing_iou", "better": "higher"}
    assert calculate_metric(data, block) == 0.25
    assert calculate_metric(data, {**block, "part": "skin"}) == 0.5
    assert np.isnan(calculate_metric(data, {**block, "part": "mouth"}))
    assert calculate_metric(data, {**block, "part": "mouth", "missing": 0.0}) == 0
    with pytest.raises(UsageError, match="part cannot be 'nosee'; did you mean 'nose'"):
        calculate_metric(data, {**block, "part": "nosee"})


def test_unknown_parsers_name_the_nearest():
    with pytest.raises(UsageError, match="no parser is called 'compct'; did you mean 'compact'"):
        metrics.create("parsing", parser="compct")


@pytest.mark.parametrize("parser", ["compact", "landmarks"])
def test_iou_of_a_real_face_with_itself_is_one_and_falls_with_blur(parser):
    if parser == "landmarks":
        pytest.importorskip("dlib", reason="dlib is not installed (extra 'landmarks')")
    need_file({"compact": "face-parser", "landmarks": "landmarks68-dlib"}[parser])
    faces = real(8)
    metric = metrics.create("parsing", parser=parser, device="cpu")
    assert parser in metric.backbone
    means = [np.nanmean(metric.measure([blurred(face, sigma) for face in faces], faces)["parsing_iou"]) for sigma in (0, 2, 4)]
    assert means[0] == 1
    assert means[0] > means[1] > means[2]


def test_maps_of_ones_own_are_checked(made_up):
    metric, maps = metrics.create("parsing"), [drawn_face(seed)[1] for seed in range(3)]
    with pytest.raises(DataError, match="there are 3 SR images and 1 GT images"):
        metric.compare(Maps(maps), Maps(maps[:1]))
    with pytest.raises(DataError, match=r"parsing_iou: a parsing map is uint8 \(H, W\), this is float64"):
        metric.compare(Maps(maps[:1]), Maps([maps[0].astype(float)]))
