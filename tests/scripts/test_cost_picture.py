"""The picture of cost against quality: every name can be read, and stands with its point."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.conftest import load_script

plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed, which draws the picture")
from matplotlib.text import Text  # noqa: E402

NAMES = ("SRCNN", "VDSR", "EDSR", "SRResNet", "SRGAN", "FSRNet", "SPARNet", "SISN", "WIPA", "MRRNet", "UFSRNet", "WNet", "WNetLite")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("crowd", [1.0, 0.4])
def test_no_name_lies_on_another_or_on_a_point(seed, crowd):
    draw = np.random.default_rng(seed)
    points = [(name, 10 ** (crowd * draw.uniform(0, 1.3)), 25 + crowd * draw.uniform(0, 2)) for name in NAMES]
    points += [("Cheap", 0.5, 28.0), ("Costly", 40.0, 24.0)]
    cost = load_script("zoo/cost_picture")
    figure, panel = plt.subplots(figsize=(4.8, 3.6), layout="constrained", dpi=110)
    cost._scatter(panel, points)
    figure.draw_without_rendering()
    cost.name_points(panel, points)
    figure.draw_without_rendering()
    boxes = {text.get_text(): Text.get_window_extent(text) for text in panel.texts}
    plt.close(figure)

    spots = {name: panel.transData.transform((x, y)) for name, x, y in points}
    assert list(boxes) == list(spots)
    for one, other in itertools.combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    for name, box in boxes.items():
        assert panel.bbox.contains(*box.min)
        assert panel.bbox.contains(*box.max)
        assert not any(box.contains(*spot) for spot in spots.values())
        away = np.maximum(np.maximum(box.min - spots[name], spots[name] - box.max), 0)
        assert np.hypot(*away) < 100  # 62 points on both axes
