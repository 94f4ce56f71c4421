"""Pictures of a report's parts, in a real browser."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image, ImageColor

from tests.benchmark.test_benchmark import go, train_nothing
from tests.conftest import load_script
from wnet_arch.benchmark import charts, report
from wnet_arch.benchmark import results as results_module


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    return load_script("pictures/report_picture")


@pytest.fixture(scope="module")
def page(tmp_path_factory, face_set):
    """Of a benchmark at two scales; at x8 one of two networks estimates a map."""
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    out = tmp_path_factory.mktemp("bench")
    runs = [
        train_nothing(out / "runs", "SRCNN_x4", scale=4),
        train_nothing(out / "runs", "wnet", kind="WNet", num_feat=8, peak=1),
    ]
    go(out, ["Bicubic", f"SRCNN={runs[0]}", f"W-Net={runs[1]}"], [face_set])
    return report.write(results_module.load(out), out, count=3).resolve()


def test_faces_of_a_view_and_scale(script, page, tmp_path):
    sizes = {}
    for scale, view, shown in ((8, "image", 4), (8, "estimated", 3), (4, "image", 4)):
        out = tmp_path / f"{scale}{view}.png"
        script.take(page, out, "faces", scale, view)
        with Image.open(out) as picture:
            sizes[scale, view] = picture.size
        assert picture.width == pytest.approx(16 * 10.75 * shown, abs=2)
    assert sizes[8, "image"] == sizes[4, "image"]
    assert (tmp_path / "8image.png").read_bytes() != (tmp_path / "4image.png").read_bytes()


def test_each_network_keeps_its_colour(script, page, tmp_path):
    shown = set()
    for scale in (4, 8):
        script.take(page, tmp_path / "page.png", scale=scale)
        with Image.open(tmp_path / "page.png") as picture:
            shown |= {colour for _, colour in picture.convert("RGB").getcolors(picture.width * picture.height)}
    assert {ImageColor.getrgb(colour) for colour in charts.colours(["Bicubic", "SRCNN", "W-Net"]).values()} <= shown


def test_what_the_report_does_not_have_is_said(script, page, tmp_path):
    for part, scale, view, said in (
        ("identity", None, "image", "--part: the report has no section 'identity': the benchmark did not measure it"),
        ("faces", 2, "image", "--scale: the report has faces x4, faces x8"),
        ("faces", 8, "landmarks", "--view: the faces have image, estimated, error, not landmarks"),
        ("faces", 4, "estimated", "--view: the faces have image, error, not estimated"),
    ):
        with pytest.raises(SystemExit, match=said):
            script.take(page, tmp_path / "none.png", part, scale, view)
    assert list(tmp_path.iterdir()) == []
