"""A queue's trainings as curves of equal images: what the logs say is what the page says."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import write_set
from wnet_arch import list_pretrained
from wnet_arch.inference import profiling
from wnet_arch.weights import shipped

SCRIPTS = Path(__file__).parents[2] / "scripts" / "zoo"
QUEUE = """
[all]
scale = 8
images = 40
batch = 4
data = ["{set}"]
val = "{set}"
[[train]]
network = "SRCNN"
[[train]]
network = "EDSR"
[[train]]
name = "small"
network = "WNet"
network_option = ["peak=1", "num_feat=16"]
"""


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import curves

    return curves


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "faces", count=2, size=128)


@pytest.fixture
def queue(tmp_path, faces) -> Path:
    file = tmp_path / "queue.toml"
    file.write_text(QUEUE.format(set=faces))
    return file


def log(out: Path, name: str, *lines: dict, end: str = "") -> None:
    run = out / name / "experiments" / name
    run.mkdir(parents=True)
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + end)


def run(script, monkeypatch, queue: Path, out: Path, page: Path, *more: str) -> int:
    monkeypatch.setattr(sys, "argv", ["curves.py", str(queue), "--out", str(out), "--page", str(page), *more])
    return script.main()


def test_the_page_has_the_last_validation_of_each_and_a_picture(script, monkeypatch, tmp_path, queue, capsys):
    log(tmp_path / "zoo", "SRCNN_x8", {"iter": 5, "time": 0.2}, {"iter": 5, "psnr": 20.5, "ssim": 0.5}, {"iter": 10, "time": 0.4},
        {"iter": 10, "psnr": 21.25, "ssim": 0.625})  # fmt: skip
    log(tmp_path / "zoo", "small", {"iter": 5, "psnr": 23.0}, end='{"iter": 6, "psn')  # under way, cut while it was written
    page = tmp_path / "docs" / "results" / "equal.md"
    page.parent.mkdir(parents=True)
    assert run(script, monkeypatch, queue, tmp_path / "zoo", page) == 0
    text = page.read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "Validated on faces:" in text
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")][2:]
    cost = profiling.cost("SRCNN", 8)
    assert table[0] == ["SRCNN_x8", "21.25", "0.6250", f"{cost.used / 1e6:.1f} M", f"{cost.macs / 1e9:.2f}"]
    assert table[3:] == [["EDSR_x8", "0 of 40", "–", "not known yet"], ["small", "20 of 40", "23.00 after 20", "not known yet"]]
    picture = page.parent / re.search(r"\]\((.*\.png)\)", text).group(1)
    with Image.open(picture) as image:
        assert image.width > 600
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_costs_are_those_of_the_option_files(script):
    parse = script.train_zoo.build_parser().parse_args
    for words in (["WNetLite", "4", "--images", "4"], ["WNetLite", "4", "--images", "4", "--network-option", "num_feat=64"]):
        kind, found = script._network(parse(words))
        assert (kind, found["grid"], found["attention"]) == ("WNetLite", 32, False)
        assert found["num_feat"] == (64 if len(words) > 4 else 112)
        profiling.cost(kind, 4, **found)
    assert script._network(parse(["SRGAN", "8", "--images", "4"]))[0] == "SRResNet"  # a training, not a network, has that name


def test_what_is_left_is_told_by_the_pace_of_the_training(script, monkeypatch, tmp_path, faces):
    file = tmp_path / "queue.toml"
    file.write_text(QUEUE.format(set=faces).replace('network = "EDSR"', 'network = "EDSR"\nafter = "SRCNN_x8"'))
    log(tmp_path / "zoo", "SRCNN_x8", {"iter": 10, "time": 0.4}, {"iter": 10, "psnr": 21.25})
    log(tmp_path / "zoo", "EDSR_x8", {"iter": 1, "time": 900.0}, {"iter": 2, "time": 1800.0}, {"iter": 3, "time": 2700.0})
    page = tmp_path / "docs" / "equal.md"
    page.parent.mkdir()
    assert run(script, monkeypatch, file, tmp_path / "zoo", page, "--hardware", "an abacus") == 0
    lines = [line for line in page.read_text().splitlines() if "of 40" in line]
    assert "the time that is left on an abacus:" in page.read_text()
    assert lines[0].split("|")[1:5] == [" EDSR_x8, from SRCNN_x8 ", " 12 of 40 ", " – ", " 3.5 h "]  # 7 steps of half an hour
    assert "SRCNN_x8" not in " ".join(lines[1:])


def test_images_that_are_no_multiple_of_the_batch_end_with_the_last_whole_one(script, monkeypatch, tmp_path, faces):
    file = tmp_path / "queue.toml"
    file.write_text(QUEUE.format(set=faces).replace("images = 40", "images = 42"))
    assert "images = 42" in file.read_text()
    log(tmp_path / "zoo", "SRCNN_x8", {"iter": 10, "time": 0.4}, {"iter": 10, "psnr": 21.25})
    page = tmp_path / "docs" / "equal.md"
    page.parent.mkdir()
    assert run(script, monkeypatch, file, tmp_path / "zoo", page) == 0
    assert "SRCNN_x8" in page.read_text().partition("Not trained to the end")[0]


@pytest.mark.skipif("srcnn_x8" not in list_pretrained(), reason="needs the second package: pip install ./baselines")
def test_what_ships_is_drawn_from_the_log_beside_its_weights(script, monkeypatch, tmp_path, faces):
    """Of the trainings of this queue alone, and not where the queue now asks for other amounts."""
    log_file = shipped.path("srcnn_x8").with_suffix(".jsonl")
    last = [json.loads(line) for line in log_file.read_text().splitlines() if "psnr" in line][-1]
    asked = QUEUE.replace("images = 40", f"images = {last['iter'] * 4}").replace("EDSR", "WFEN").format(set=faces)
    (tmp_path / "table1_x8.toml").write_text(asked)
    page = tmp_path / "docs" / "equal.md"
    page.parent.mkdir()
    assert run(script, monkeypatch, tmp_path / "table1_x8.toml", tmp_path / "zoo", page) == 0
    whole, _, rest = page.read_text().partition("Not trained to the end")
    assert f"| SRCNN_x8 | {last['psnr']:.2f} | {last['ssim']:.4f} |" in whole
    assert ("SRCNN_x8" in rest, "WFEN_x8" in rest) == (False, True)
    for name, text in (("another.toml", asked), ("table1_x8.toml", asked.replace("images = ", "images = 1"))):
        (tmp_path / name).write_text(text)
        with pytest.raises(SystemExit, match=r"no training of .* has validated"):
            run(script, monkeypatch, tmp_path / name, tmp_path / "zoo", page)


def test_lines_go_through_the_points_of_the_logs(script, monkeypatch, tmp_path, queue):
    import matplotlib.axes

    drawn = []
    plot = matplotlib.axes.Axes.plot
    monkeypatch.setattr(
        matplotlib.axes.Axes, "plot", lambda self, x, y, **how: (drawn.append((list(x), list(y))), plot(self, x, y, **how))[1]
    )
    log(tmp_path / "zoo", "EDSR_x8", {"iter": 3, "psnr": 20.5}, {"iter": 10, "psnr": 22.0})
    (tmp_path / "docs").mkdir()
    assert run(script, monkeypatch, queue, tmp_path / "zoo", tmp_path / "docs" / "equal.md") == 0
    assert drawn == [([12, 40], [20.5, 22.0])]


@pytest.mark.parametrize(("before", "after", "said"), [
    ('network = "EDSR"', 'network = "EDSR"\nscale = 4\nname = "EDSR_x8"', "`scale`, not (4, 8|8, 4)"),
    ('network = "EDSR"', 'network = "EDSR"\nimages = 80', "`images`, not (40, 80|80, 40)"),
    ("images = 40", "minutes = 4", "`images`, not no number"),
])  # fmt: skip
def test_trainings_that_are_not_equal_are_refused(script, monkeypatch, tmp_path, faces, before, after, said):
    file = tmp_path / "queue.toml"
    file.write_text(QUEUE.format(set=faces).replace(before, after))
    log(tmp_path / "zoo", "SRCNN_x8", {"iter": 5, "psnr": 20.5})  # the other may not have begun
    with pytest.raises(SystemExit, match=f"its trainings must have one number of {said}"):
        run(script, monkeypatch, file, tmp_path / "zoo", tmp_path / "docs" / "page.md")
    assert not (tmp_path / "docs").exists()


def test_names_of_lines_that_end_alike_do_not_lie_on_each_other(script):
    heights = [26.0, 25.99, 25.98, 24.0, 23.99]
    places = script.spread(heights)
    assert all(upper - lower >= 2.01 / 22 - 1e-9 for upper, lower in itertools.pairwise(places))
    assert places[0] == 26.0
    assert places[3] == 24.0


@pytest.mark.parametrize(("content", "said"), [(QUEUE, "no training of .* has validated in .* yet; train_queue.py runs them"),
                                               (QUEUE.replace("EDSR", "EDRS"), "EDRS")])  # fmt: skip
def test_what_cannot_be_drawn_is_said(script, monkeypatch, tmp_path, faces, content, said):
    (tmp_path / "queue.toml").write_text(content.format(set=faces))
    with pytest.raises(SystemExit, match=f"curves: error: .*{said}"):
        run(script, monkeypatch, tmp_path / "queue.toml", tmp_path / "zoo", tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()
