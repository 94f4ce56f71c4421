"""Metrics and data sets that another installed package brings: found by name, in every process, and never in place of ours."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.prepare.test_prepare import noise
from wnet_arch import metrics
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.data.face_lmdb import read_manifest
from wnet_arch.errors import UsageError
from wnet_arch.metrics.lpips import LPIPS

CODE = """
import numpy as np
from wnet_arch.metrics.base import Metric
from wnet_arch.prepare.catalog import PhotoSource

class MeanColour(Metric):
    name, backbone, better, units = "mean_colour", "none", "lower", {"mean_colour": "levels"}

    def __init__(self, power: float = 1.0, device: str = "cpu"):
        self.power = power

    def compare(self, sr, gt):
        means = [np.array([image.mean((0, 1)) for image in side.images]) for side in (sr, gt)]
        return {"mean_colour": (np.abs(means[0] - means[1]) ** self.power).mean(1)}

class Portraits(PhotoSource):
    \"\"\"Portraits of two cameras.\"\"\"

    def __init__(self, root, mode, crop):
        super().__init__(root, mode, crop)
        self.splits = ("train", "test")

    def split_of(self, name):
        return "test" if name.startswith("camera2") else "train"
"""
POINTS = """[wnet_arch.metrics]
mean_colour = its_package:MeanColour
lpips = its_package:MeanColour
wrong = its_package:np
gone = no_such_package_anywhere:Metric

[wnet_arch.photo_sources]
portraits = its_package:Portraits
broken = no_such_package_anywhere:Source
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A folder on Python's path, here and in child processes, with an installed package."""
    site = tmp_path / "site"
    folder = site / "its_package-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: its-package\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(POINTS)
    (site / "its_package.py").write_text(CODE)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    yield site
    sys.modules.pop("its_package", None)


def test_a_metric_is_found_by_its_name_with_its_options(package):
    assert "mean_colour" in metrics.list_metrics()
    sr, gt = np.zeros((2, 8, 8, 3), np.uint8), np.full((2, 8, 8, 3), 3, np.uint8)
    assert metrics.create("mean_colour", power=2).measure(sr, gt)["mean_colour"].tolist() == [9.0, 9.0]
    with pytest.raises(UsageError, match="metric mean_colour has no option 'powr'; did you mean 'power'"):
        metrics.create("mean_colour", powr=2)


def test_no_package_takes_the_place_of_ours(package):
    assert metrics._METRICS["lpips"] is LPIPS


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone", "'gone' of the package its-package 1.0 cannot be imported \\(ModuleNotFoundError: .*mend or remove that package"),
        ("wrong", "'wrong' of the package its-package 1.0 is no Metric \\(its_package:np\\)"),
    ],
)
def test_a_broken_one_is_named_with_its_package(package, name, why):
    with pytest.raises(UsageError, match=why):
        metrics.create(name)


def test_the_benchmark_measures_it_in_two_processes(package, face_set, tmp_path):
    words = ["--networks", "Bicubic", "--sets", f"faces={face_set}", "--scales", "8", "--metrics", "mean_colour"]
    words += ["--report-faces", "0"]
    assert run_command("wnet", wnet._main, ["benchmark", *words, "--out", str(tmp_path / "out"), "--workers", "2"]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Mean colour" in table


def test_other_code_of_a_metric_is_measured_again(package):
    from wnet_arch.benchmark import measures

    measure = measures.Measure("mean_colour")
    before = measure.fingerprint(8)
    (package / "its_package.py").write_text(CODE + "\n# changed\n")
    measures._fingerprint.cache_clear()
    assert measure.fingerprint(8) != before


def test_a_data_set_is_prepared_by_its_name(package, tmp_path, monkeypatch):
    from wnet_arch.plugins import PHOTO_SOURCES, Classes
    from wnet_arch.prepare import catalog

    monkeypatch.setattr(catalog, "NAMES", tuple(Classes(PHOTO_SOURCES, catalog._OWN, catalog.PhotoSource)))
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed, name in enumerate(("camera1_a", "camera1_b", "camera2_a")):
        Image.fromarray(noise(seed)).save(photos / f"{name}.png")
    words = ["prepare", "portraits", "--root", str(photos), "--out", str(tmp_path / "set"), "--size", "32", "--workers", "1"]
    assert run_command("wnet", wnet._main, words) == 0
    assert [read_manifest(tmp_path / "set" / split)["count"] for split in ("train", "test")] == [2, 1]


def test_a_broken_data_set_stops_only_itself(package, monkeypatch, tmp_path, capsys):
    from wnet_arch.plugins import PHOTO_SOURCES, Classes
    from wnet_arch.prepare import catalog

    monkeypatch.setattr(catalog, "NAMES", tuple(Classes(PHOTO_SOURCES, catalog._OWN, catalog.PhotoSource)))
    assert run_command("wnet", wnet._main, ["weights", "list"]) == 0
    assert run_command("wnet", wnet._main, ["prepare", "broken", "--root", str(tmp_path), "--out", str(tmp_path / "set")]) == 2
    assert "'broken' of the package its-package 1.0 cannot be imported" in capsys.readouterr().err
