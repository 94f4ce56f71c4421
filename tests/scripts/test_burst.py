"""A burst rehearsed on the CPU, by the commands of docs/guides/burst.md, in empty folders: packed, sent, trained, brought back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import PATIENCE
from wnet_arch import create_network
from wnet_arch.weights import checkpoint

BURST = Path(__file__).parents[2] / "scripts" / "burst"
QUEUE = """
[all]
scale = 8
batch = 4
workers = 0
data = ["{data}"]
val = "{data}"

[[train]]
network = "EDSR"
name = "small_x8"
images = 40
network_option = ["num_feat=8", "num_blocks=1"]
force_yml = ["path:pretrain_network_g={start}"]

[[train]]
network = "EDSR"
name = "endless_x8"
images = 4_000_000
network_option = ["num_feat=8", "num_blocks=1"]
force_yml = ["logger:print_freq=1", "logger:save_checkpoint_minutes=0.02"]

[[train]]
network = "SRCNN"
minutes = 1
network_option = ["num_mid_feat=8"]
"""


def call(*words, cwd: Path, check: bool = True) -> subprocess.CompletedProcess:
    """A script of this checkout, by this checkout's package, or one that has travelled, by the package that travelled with it."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if isinstance(words[0], Path):
        environment["PYTHONPATH"] = str(BURST.parents[1])
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def scripts(monkeypatch):
    for folder in (BURST, BURST.parent / "zoo"):
        monkeypatch.syspath_prepend(folder)


@pytest.fixture(scope="module")
def packed(face_set, tmp_path_factory) -> Path:
    """A home whose folder `burst` is ready to be sent."""
    home = tmp_path_factory.mktemp("home")
    net = create_network("EDSR", 8, num_feat=8, num_blocks=1)
    checkpoint.write({"params": net.state_dict(), "params_ema": net.state_dict()}, home / "begin.pth")
    (home / "queue.toml").write_text(QUEUE.format(data=face_set, start=home / "begin.pth"))
    said = call(BURST / "pack.py", "queue.toml", "--part", 0.25, cwd=home).stdout
    assert "3 trainings, 1 sets" in said
    return home


def train_until_its_time_is_over(folder: Path) -> None:
    """As `--minutes` ends it, but not before the endless training has written a checkpoint, however slow the machine."""
    command = [sys.executable, "scripts/burst/burst.py", "train", "--minutes", "600"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    models, until = folder / "zoo" / "endless_x8" / "experiments" / "endless_x8" / "models", time.monotonic() + PATIENCE
    while not list(models.glob("net_g_*.pth")) and run.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, said  # not all came to their end
    assert "small_x8: done" in said
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("endless_x8 ")] == ["stopped"]


@pytest.mark.slow
def test_from_pack_to_numbers(packed, face_set, tmp_path):
    """pack -> receive in an empty folder -> check -> train -> collect -> rebuild -> numbers."""
    far = tmp_path / "far"
    far.mkdir()
    shutil.copytree(packed / "burst", far / "burst")
    assert len(list((far / "burst").glob("part*[0-9]"))) > 2
    call("burst/receive.py", "--to", "wnet", cwd=far)
    assert not list((far / "wnet").rglob("*.safetensors"))  # of the weights that ship, none was asked for
    assert "SRCNN_x8: " in call("scripts/burst/burst.py", "check", cwd=far / "wnet").stdout
    train_until_its_time_is_over(far / "wnet")
    call("scripts/burst/burst.py", "collect", "--part", 0.1, cwd=far / "wnet")

    shutil.copytree(far / "wnet" / "results", packed / "results")
    shutil.rmtree(far)
    (packed / "speed.md").write_text("# Speed\n")
    said = call(BURST / "rebuild.py", "results", "--speed", "speed.md", cwd=packed).stdout
    assert "small_x8: 10 iterations of 4" in said
    assert "ship_weights.py zoo/small_x8/experiments/small_x8 small_x8" in said

    run = packed / "zoo" / "small_x8" / "experiments" / "small_x8"
    state = checkpoint.read_state_dict(str(run / "models" / "net_g_latest.pth"), "params")
    begin = checkpoint.read_state_dict(str(packed / "begin.pth"), "params")
    assert state.keys() == begin.keys()
    moved = max((state[key] - begin[key]).abs().max().item() for key in state)
    assert 1e-3 < moved < 0.2  # it began there, and learned
    assert str(face_set.resolve()) in (run / "small_x8.yml").read_text()  # the set as it lies here

    known = json.loads((packed / "zoo" / "numbers.json").read_text())["trainings"]
    assert known["small_x8"]["trained"]["done"]
    assert 0 < known["endless_x8"]["trained"]["images"] < 4_000_000
    for one in known.values():
        assert one["images_per_second"] > 0
        assert one["flops_per_second"] > 0
        assert one["ceiling"] > 0
    assert known["small_x8"]["trained"]["images_per_second"] > 0
    cut = packed / "zoo" / "endless_x8" / "experiments" / "endless_x8"
    reached = [json.loads(line)["iter"] for line in (cut / "log.jsonl").read_text().splitlines()][-1]
    assert f"total_iter: {reached}" in (cut / "endless_x8.yml").read_text()
    assert f"endless_x8: {reached} iterations of 4" in said
    page = (packed / "speed.md").read_text()
    assert page.startswith("# Speed\n")
    assert page.count("| `small_x8` |") == 1


def test_parts_that_are_missing_or_damaged_are_named(packed, tmp_path):
    folder = tmp_path / "burst"
    shutil.copytree(packed / "burst", folder)
    (folder / "part2").rename(folder / "kept")
    run = call("burst/receive.py", cwd=tmp_path, check=False)
    assert run.returncode == 1
    assert "are missing: part2; send them" in run.stderr
    content = bytearray((folder / "kept").read_bytes())
    content[1000] ^= 1
    (folder / "part2").write_bytes(content)
    run = call("burst/receive.py", cwd=tmp_path, check=False)
    assert run.returncode == 1
    assert run.stderr == "receive.py: error: damaged on their way: part2; send them once more\n"
    assert not (tmp_path / "wnet").exists()


def test_a_mistake_in_the_queue_packs_nothing(face_set, tmp_path):
    text = QUEUE.format(data=face_set, start="nowhere.pth")
    for old, new, said in (
        ("SRCNN", "SRCN", "there is no option file for SRCN x8"),
        ("", "", "nowhere.pth: there is no such file"),
    ):
        (tmp_path / "queue.toml").write_text(text.replace(old, new, 1) if old else text)
        run = call(BURST / "pack.py", "queue.toml", cwd=tmp_path, check=False)
        assert run.returncode == 2
        assert said in run.stderr
        assert run.stderr.count("\n") == 1
        assert not (tmp_path / "burst").exists()


def test_what_ships_travels_in_half_precision_where_it_is_half(scripts):
    import pack

    luggage = pack.Luggage()
    assert luggage.add_weights("wnet_x8") == "weights/wnet_x8.safetensors"
    assert len(luggage.files["weights/wnet_x8.safetensors"]) < 9e6
    state = {"a": torch.tensor([0.5, 1 / 3]), "b": torch.tensor([0.5]), "n": torch.tensor(3)}
    assert {key: value.dtype for key, value in pack.narrowed(state).items()} == {
        "a": torch.float32, "b": torch.float16, "n": torch.int64
    }  # fmt: skip


def test_sets_of_one_name_do_not_meet(scripts, tmp_path):
    import pack

    for name in ("celeba/val", "helen/val", "mine", "other/mine"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text("{}")
    luggage = pack.Luggage()
    names = [luggage.add_set(str(tmp_path / name)) for name in ("celeba/val", "helen/val", "mine", "other/mine", "mine")]
    assert names[:3] == ["datasets/celeba_val", "datasets/helen_val", "datasets/mine"]
    assert names[3] not in names[:3]
    assert names[4] == names[2]


def test_minutes_become_images_and_are_shortened_together(scripts, monkeypatch):
    import burst

    one = {"images_per_second": 100.0, "first_step": 1.0, "validation": 0, "step": 0.04, "batch": 4, "accumulation": 1}
    known = {"start_up": 9.0, "trainings": {"a": one, "b": one, "c": {**one, "accumulation": 2}}}

    class Args:
        def __init__(self, entry):
            self.name, self.images, self.minutes, self.batch = entry["name"], entry.get("images"), entry.get("minutes"), 4

    monkeypatch.setattr(burst.train_queue, "arguments", lambda entry, out: entry)
    monkeypatch.setattr(burst.train_zoo, "prepared", lambda entry: (Args(entry), None))
    entries = [{"name": "a", "minutes": 2}, {"name": "b", "images": 1000}, {"name": "c", "minutes": 1, "after": "a"}]
    found = {entry["name"]: entry for entry in burst.planned(entries, known, 1000)}
    assert found["a"]["images"] == (120 * 0.95 - 10) * 100
    assert found["b"]["images"] == 1000
    assert found["c"]["accumulation"] == 2
    assert "minutes" not in found["a"]
    short = {entry["name"]: entry for entry in burst.planned(entries, known, 20 + 90)}  # half of what is asked for
    assert short["a"]["images"] == (60 * 0.95 - 10) * 100
    assert short["b"]["images"] == 1000
    none = burst.planned(entries, known, 20 + 15)  # too little for a, and so for what begins with it
    assert [entry["name"] for entry in none] == ["b"]
    known["trainings"]["d"] = one
    chain = [*entries, {"name": "d", "images": 40, "after": "c"}]  # it starts from what starts from a
    assert [entry["name"] for entry in burst.planned(chain, known, 31 + 15)] == ["b"]
    del known["trainings"]["a"]  # it cannot be trained here
    assert [entry["name"] for entry in burst.planned(entries, known, 1000)] == ["b"]


def test_a_pack_removes_the_parts_of_earlier_ones_and_nothing_else(scripts, tmp_path):
    import parts

    for name in ("part7", "particles.txt", "part_of_thesis.tex", "part1.txt"):
        (tmp_path / name).write_text(name)
    parts.write({"a": b"x"}, tmp_path, 1000)
    assert {path.name for path in tmp_path.iterdir()} == {"pack.json", "part1", "particles.txt", "part_of_thesis.tex", "part1.txt"}


def test_a_page_has_one_section_for_each_card(scripts, tmp_path):
    import numbers_page

    one = {"images_per_second": 12.345, "batch": 4, "precision": "bfloat16", "flops_per_second": 5e12, "ceiling": 2e13, "step": 0.3}
    known = {"machine": {"card": "Card (A) 80GB+", "torch": "2.9", "processors": 8}, "trainings": {"a": one}}
    page = tmp_path / "speed.md"
    page.write_text("# Speed\n\ntext\n")
    numbers_page.write(known, page)
    first = page.read_text()
    assert "| `a` | 12.3 | 300.0 |" in first
    assert "| 25 % |" in first
    other = {**known, "machine": {**known["machine"], "card": "B"}}
    numbers_page.write(other, page)
    known["trainings"]["a"]["images_per_second"] = 20.0
    numbers_page.write(known, page)
    text = page.read_text()
    assert text.count("## Training on") == 2
    assert text.startswith("# Speed\n\ntext\n")
    assert "| 20.0 |" in text.partition("<!-- end of burst: Card")[0]
    assert "12.3" in text.partition("<!-- end of burst: Card")[2]
