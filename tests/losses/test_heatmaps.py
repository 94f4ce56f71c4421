"""Targets of networks with priors, against loops over single pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.conftest import drawn_face, drawn_points
from wnet_arch.faces import labels, landmarks
from wnet_arch.losses.heatmaps import HELEN, coloured_map, helen_maps, landmark_heatmaps


def faces(size: int = 32) -> torch.Tensor:
    """Two label maps (2, size, size), the second with unknown pixels in one corner."""
    maps = np.stack([drawn_face(seed, size)[1] for seed in (0, 1)])
    maps[1, :5, :7] = labels.UNKNOWN
    return torch.from_numpy(maps)


def test_heatmaps_are_gaussians_around_the_points():
    points = torch.from_numpy(np.stack([drawn_points(0, 128), drawn_points(1, 128)]))
    maps, known = landmark_heatmaps(points, 32, 32)
    assert maps.shape == (2, 68, 32, 32)
    assert known.flatten().tolist() == [1, 1]
    for image, point, row, column in ((0, 0, 3, 4), (1, 30, 20, 9), (0, 67, 31, 0), (1, 5, 16, 16)):
        x, y = (points[image, point].double() / 4).tolist()
        expected = math.exp(-((column - x) ** 2 + (row - y) ** 2) / 2)
        assert float(maps[image, point, row, column]) == pytest.approx(expected, abs=1e-6)


def test_published_heatmap_of_one_landmark():
    """Sigma 1 at 32x32, peak 1, centre the landmark by 4: a point at (40, 60) is the middle of pixel (10, 15)."""
    points = torch.zeros(1, 68, 2)
    points[0, 30] = torch.tensor([40.0, 60.0])
    nose = landmark_heatmaps(points, 32, 32)[0][0, 30]
    assert float(nose[15, 10]) == 1
    assert float(nose[15, 11]) == pytest.approx(math.exp(-0.5))
    assert float(nose[16, 11]) == pytest.approx(math.exp(-1))


def test_centres_are_not_rounded_and_points_outside_fade():
    points = torch.tensor([[[41.0, 60.0], [-40.0, 60.0]]])
    between, outside = landmark_heatmaps(points, 32, 32)[0][0]
    assert float(between[15, 10]) == pytest.approx(math.exp(-(0.25**2) / 2))
    assert float(outside.max()) < 1e-6


def test_sigma_and_stride():
    maps, _ = landmark_heatmaps(torch.tensor([[[6.0, 8.0]]]), 16, 16, stride=2, sigma=2)
    assert float(maps[0, 0, 4, 3]) == 1
    assert float(maps[0, 0, 4, 5]) == pytest.approx(math.exp(-0.5))


@pytest.mark.parametrize("unknown", [slice(None), slice(10, 11)])
def test_an_image_that_lacks_a_point_is_unknown(unknown):
    points = torch.full((2, 68, 2), 20.0)
    points[1, unknown] = float("nan")
    maps, known = landmark_heatmaps(points, 32, 32)
    assert known.flatten().tolist() == [1, 0]
    assert maps.isfinite().all()
    assert not maps[1].any()


def test_flipped_landmarks_give_the_flipped_maps_components():
    """The published centres are off the pixel grid's middle by 3/8, so maps mirror exactly only with that taken out."""
    points = drawn_points(0, 128)
    straight, _ = landmark_heatmaps(torch.from_numpy(points)[None] - 1.5, 32, 32)
    turned, _ = landmark_heatmaps(torch.from_numpy(landmarks.flip(points, 128))[None] - 1.5, 32, 32)
    torch.testing.assert_close(turned[0].flip(-1), straight[0, landmarks.FLIP.tolist()], rtol=0, atol=1e-5)


def test_every_class_belongs_to_one_of_helens():
    assert len(HELEN) == 11
    assert sorted(value for classes in HELEN for value in classes) == list(range(19))


def test_helen_maps_are_shares_of_known_cells():
    label = faces()
    maps, known = helen_maps(label, 16, 16)
    assert maps.shape == (2, 11, 16, 16)
    for image in range(2):
        for row in range(16):
            for column in range(16):
                cell = label[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten().tolist()
                assert float(known[image, 0, row, column]) == (labels.UNKNOWN not in cell)
                shares = [sum(value in classes for value in cell) / 4 for classes in HELEN]
                assert maps[image, :, row, column].tolist() == shares
    # a known cell's shares are complete
    assert torch.equal((maps.sum(1, keepdim=True) * known), known)


def test_coloured_map_averages_the_palette():
    label = faces()
    picture, known = coloured_map(label, 4, 4)
    assert picture.shape == (2, 3, 4, 4)
    colours = labels.colorize(label.numpy()).astype(np.float64) / 255
    expected = colours.reshape(2, 4, 8, 4, 8, 3).mean((2, 4)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(picture.numpy(), expected, atol=1e-6)
    assert known[0].all()
    assert [tuple(cell) for cell in (known[1, 0] == 0).nonzero().tolist()] == [(0, 0)]


def test_maps_that_are_all_unknown_are_known_nowhere():
    label = torch.full((1, 16, 16), labels.UNKNOWN, dtype=torch.uint8)
    for make in (helen_maps, coloured_map):
        maps, known = make(label, 8, 8)
        assert maps.isfinite().all()
        assert not known.any()
