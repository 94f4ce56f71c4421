"""The queue of trainings: it does every training once, whoever is killed, and says what is wrong before it begins."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import FUZZ, FUZZ_SEED, PATIENCE
from wnet_arch import list_pretrained

SCRIPT = Path(__file__).parents[2] / "scripts" / "zoo" / "train_queue.py"

QUEUE = """
[all]
scale = 8
images = {images}
batch = 4
workers = 0
validations = 1
data = ["{data}"]
val = "{data}"
network_option = ["num_feat=8"]
force_yml = ["train:precision=fp32", "train:channels_last=false"]  # auto decides by time, which differs from run to run

[[train]]
network = "EDSR"
name = "first"
network_option = ["num_feat=8", "num_blocks=1"]

[[train]]
network = "SRCNN"
network_option = ["num_mid_feat=8"]
force_yml = ["logger:save_checkpoint_freq=3", "train:precision=fp32", "train:channels_last=false"]

[[train]]
network = "EDSR"
name = "then"
after = "first"
network_option = ["num_feat=8", "num_blocks=1"]
"""


def write(folder: Path, face_set, text: str = QUEUE, images: int = 40) -> Path:
    file = folder / "queue.toml"
    file.write_text(text.format(data=face_set, images=images))
    return file


def command(file: Path, *more) -> list[str]:
    return [sys.executable, str(SCRIPT), str(file), *map(str, more)]


def queue(file: Path, *more) -> subprocess.CompletedProcess:
    return subprocess.run(command(file, *more), cwd=file.parent, capture_output=True, text=True, timeout=PATIENCE)


def weights(folder: Path, name: str) -> dict:
    return torch.load(folder / "zoo" / name / "experiments" / name / "models" / "net_g_latest.pth", weights_only=True)["params"]


def assert_equal(one: Path, other: Path) -> None:
    for name in ("first", "SRCNN_x8", "then"):
        a, b = weights(one, name), weights(other, name)
        assert all(torch.equal(a[key], b[key]) for key in a), name


@pytest.fixture(scope="module")
def whole(face_set, tmp_path_factory):
    """The queue without interruptions."""
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    run = queue(write(folder, face_set))
    assert run.returncode == 0, run.stdout + run.stderr
    folder.joinpath("seconds.txt").write_text(str(time.monotonic() - began))
    folder.joinpath("said.txt").write_text(run.stdout)
    return folder


def test_all_are_trained_in_their_order_and_the_table_says_so(whole, face_set):
    said = (whole / "said.txt").read_text()
    assert [line.split()[1] for line in said.splitlines() if line.endswith(": begun")] == ["first:", "SRCNN_x8:", "then:"]
    rows = [line.split() for line in said.splitlines()[-3:]]
    assert [(row[0], row[1], row[2], row[-1]) for row in rows] == [(n, "40", "40", "done") for n in ("first", "SRCNN_x8", "then")]
    log = (whole / "zoo" / "then" / "train.log").read_text()
    assert "first/models/net_g_latest.pth" in log  # started from the other's weights
    again = queue(whole / "queue.toml")
    assert again.returncode == 0
    assert "begun" not in again.stdout
    listed = queue(whole / "queue.toml", "--list")
    assert listed.stdout.splitlines()[-3:] == again.stdout.splitlines()[-3:]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("images = 40", "images = 80", "training 1: zoo/first/plan.json is of a run with images 40, not 80; give the same, or"),
        ('network_option = ["num_mid_feat=8"]', "seed = 3", "training 2: zoo/SRCNN_x8/plan.json is of a run with seed 0, not 3;"),
        ('network_option = ["num_mid_feat=8"]', "", "with network_option ['num_mid_feat=8'], not ['num_feat=8'];"),
        ('after = "first"', "", "training 3: zoo/then/plan.json is of a run with other weights to begin with; give the same, or"),
        ('after = "first"', 'after = "SRCNN_x8"', "zoo/then/plan.json is of a run with other weights to begin with"),
    ],
)
def test_a_run_of_that_name_with_other_options_does_not_count_as_done(whole, face_set, tmp_path, before, after, said):
    shutil.copytree(whole / "zoo", tmp_path / "zoo")
    assert before in QUEUE.format(data=face_set, images=40)
    file = write(tmp_path, face_set)
    file.write_text(file.read_text().replace(before, after))
    for more in ([], ["--list"]):
        run = queue(file, *more)
        assert run.returncode != 0
        assert said in run.stderr, run.stderr
        assert "begun" not in run.stdout


@pytest.mark.parametrize("key", ["data", "val"])
def test_a_run_of_that_name_with_other_photos_does_not_count_as_done_and_moved_sets_do(whole, face_set, tmp_path, key):
    shutil.copytree(whole / "zoo", tmp_path / "zoo")
    other = shutil.copytree(face_set, tmp_path / "other")
    file = write(tmp_path, face_set)
    file.write_text(
        re.sub(rf"^{key} = .*$", f"{key} = {[str(other)] if key == 'data' else str(other)!r}", file.read_text(), flags=re.M)
    )
    run = queue(file, "--list")
    assert [line.split()[-1] for line in run.stdout.splitlines()[-3:]] == ["done"] * 3
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "photos_sha256": "0" * 64}))
    run = queue(file)
    assert run.returncode != 0
    said = f"zoo/first/plan.json is of a run with other photos for --{key} than those of {other}; give the same, or another --out"
    assert said in run.stderr
    assert "begun" not in run.stdout


def test_a_training_by_time_that_was_planned_in_images_counts(whole, face_set, tmp_path):
    """As those that scripts/burst brings back."""
    shutil.copytree(whole / "zoo", tmp_path / "zoo")
    file = write(tmp_path, face_set)
    file.write_text(file.read_text().replace("images = 40", "minutes = 3"))
    run = queue(file, "--list")
    assert run.returncode == 0, run.stderr
    assert [line.split()[-1] for line in run.stdout.splitlines()[-3:]] == ["done"] * 3


def test_what_cannot_begin_or_is_killed_is_told_and_the_others_go_on(face_set, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import train_queue

    file = write(tmp_path, face_set, QUEUE[: QUEUE.index('[[train]]\nnetwork = "EDSR"\nname = "then"')])
    killed = tmp_path / "killed.py"
    killed.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(train_queue, "SCRIPT", killed)
    out = tmp_path / "zoo"
    (out / "SRCNN_x8").mkdir(parents=True)
    (out / "SRCNN_x8" / "train.log").write_text("process 5 is training into zoo/SRCNN_x8\n")  # of an earlier session
    (out / "first").write_text("a file where a folder has to be")
    monkeypatch.setattr(sys, "argv", ["train_queue.py", str(file), "--out", str(out), "--minutes", "1.5"])
    assert train_queue.main() == 1
    said = capsys.readouterr().out
    assert f"first: failed: {out / 'first'}: " in said
    assert "SRCNN_x8: failed: killed by signal 9 (SIGKILL), which is what a machine without free memory does" in said
    assert "another program" not in said


def kill_and_go_on(file: Path, kills: int, longest: float) -> None:
    """Starts the queue again and again, and kills it each time after a while, up to ``longest`` seconds.

    With everything that it started (a machine that loses its power), or alone, so that its training goes on without it.
    """
    chance = random.Random(FUZZ_SEED)
    for kill in range(kills):
        process = subprocess.Popen(command(file), cwd=file.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(1, longest))
        process.kill()
        process.wait()
        if kill % 2 == 0:
            for pid in subprocess.run(["pgrep", "-f", str(file.parent)], capture_output=True, text=True).stdout.split():
                with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                    os.kill(int(pid), signal.SIGKILL)


def test_killed_at_random_moments_it_ends_with_the_same_weights(whole, face_set, tmp_path):
    file = write(tmp_path, face_set)
    kill_and_go_on(file, 2 * FUZZ, 25)
    run = queue(file)
    assert run.returncode == 0, run.stdout + run.stderr
    assert_equal(whole, tmp_path)


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_weights(whole, face_set, tmp_path):
    """At moments over the time that the whole queue takes, so that they meet every part of it; two minutes on an idle machine."""
    file = write(tmp_path, face_set)
    kill_and_go_on(file, 10, float((whole / "seconds.txt").read_text()) / 2)
    run = queue(file)
    assert run.returncode == 0, run.stdout + run.stderr
    assert_equal(whole, tmp_path)


def test_two_programs_do_nothing_twice(whole, face_set, tmp_path):
    file = write(tmp_path, face_set)
    both = [subprocess.Popen(command(file), cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    begun = sorted(line.split()[1] for text in said for line in text.splitlines() if line.endswith(": begun"))
    assert sorted(begun) == ["SRCNN_x8:", "first:", "then:"]
    assert_equal(whole, tmp_path)


def test_its_time_ends_it_and_sigterm_too(face_set, tmp_path):
    file = write(tmp_path, face_set, images=400_000)
    began = time.monotonic()
    run = queue(file, "--minutes", 1.1)
    assert run.returncode == 0, run.stderr
    assert time.monotonic() - began < PATIENCE
    assert "stopped" in run.stdout.splitlines()[-3]
    process = subprocess.Popen(command(file), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().endswith("first: begun\n")
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "stopped" in out.splitlines()[-3]
    assert not subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout.split()


def test_one_that_fails_is_reported_and_the_others_go_on(face_set, tmp_path):
    file = write(tmp_path, face_set, images=20)
    (tmp_path / "zoo" / "first").mkdir(parents=True)
    (tmp_path / "zoo" / "first" / "experiments").write_text("a file in the way")
    run = queue(file)
    assert run.returncode == 1
    assert [line.split()[-1] for line in run.stdout.splitlines()[-3:]] == ["failed", "done", "waits"]
    assert any("first: failed: " in line and "train.log" in line for line in run.stdout.splitlines())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[all]", "[al]", "did you mean 'all'"),
        ('network = "SRCNN"', 'netwrok = "SRCNN"', "training 2: there is no key 'netwrok'; did you mean 'network'"),
        ('network = "SRCNN"', 'network = "SRCN"', "training 2: there is no option file for SRCN x8"),
        ("scale = 8", "scale = 3", "training 1: argument scale: invalid choice: 3"),
        ("scale = 8", "", "training 1: `scale` is missing"),
        ('after = "first"', 'after = "frist"', "`after` names no training before it: 'frist'; did you mean 'first'"),
        ('after = "first"', 'after = "then"', "`after` names no training before it: 'then'"),
        ('name = "then"', 'name = "first"', "two trainings are called 'first'"),
        ("save_checkpoint_freq=3", "save_checkpiont_freq=3", "no 'logger:save_checkpiont_freq'; did you mean"),
        ("num_mid_feat=8", "num_mid_feats=8", "training 2: network_g.num_mid_feats"),
        ("batch = 4", "batch = 'four'", "training 1: argument --batch: invalid int value: 'four'"),
        ("images = {images}", "", "one of the arguments --minutes --images is required"),
        ('val = "{data}"', 'val = "nowhere"', "training 1: there is no folder nowhere"),
        ("[all]", "all]", "queue.toml: "),
        ('after = "first"', "after = 5", "training 3: `after` is a name, not 5"),
        ('name = "then"', "name = [1]", "training 3: `name` is a name, not [1]"),
        ('after = "first"', 'after = "first"\nforce_yml = 3', "`force_yml` is a list of texts (key:key=value), not 3"),
    ],
)
def test_a_mistake_ends_it_before_anything_starts(face_set, tmp_path, monkeypatch, capsys, old, new, said):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import train_queue

    assert old in QUEUE
    file = write(tmp_path, face_set, QUEUE.replace(old, new))
    monkeypatch.setattr(sys, "argv", ["train_queue.py", str(file), "--out", str(tmp_path / "zoo")])
    assert train_queue.main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train_queue.py: error: {file}: ")
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "zoo").exists()


def test_trainings_that_are_no_tables_end_it_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import train_queue

    (tmp_path / "queue.toml").write_text("train = [1, 2]")
    with pytest.raises(train_queue.QueueError, match=r"a queue has one \[all\] and one \[\[train\]\] for each training"):
        train_queue.read(tmp_path / "queue.toml", tmp_path)


def test_files_that_ship_are_fine(face_set, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import train_queue
    import train_zoo

    monkeypatch.setattr(train_zoo, "find_set", lambda path: str(face_set))
    files = sorted((SCRIPT.parent / "queues").glob("*.toml"))
    assert files
    for file in files:
        trainings = train_queue.read(file, Path("zoo"))
        assert len(trainings) >= {"burst": 4, "fast_training": 9, "wnet_lite_map": 6}.get(file.stem, 14)


@pytest.mark.skipif("srcnn_x8" not in list_pretrained(), reason="needs the second package: pip install ./baselines")
def test_what_ships_from_the_queue_need_not_be_trained_again(face_set, tmp_path, monkeypatch, capsys):
    """Unless another training starts from it. Weights of another queue, or of other amounts, do not count."""
    text = """
[all]
scale = 8
images = 2000
batch = 4
data = ["{set}"]
val = "{set}"
[[train]]
network = "SRCNN"
[[train]]
network = "EDSR"
ship = "edsr_equal_x8"
[[train]]
network = "WFEN"
after = "EDSR_x8"
"""
    names = ["SRCNN_x8", "EDSR_x8", "WFEN_x8"]
    for queue, wanted in (("table1_x8", names[1:]), ("another", names), ("table1_x8", names)):
        file = tmp_path / f"{queue}.toml"
        file.write_text(text.format(set=face_set))
        monkeypatch.setattr(sys, "argv", ["train_queue.py", str(file), "--out", str(tmp_path / "zoo"), "--missing", "--list"])
        monkeypatch.syspath_prepend(str(SCRIPT.parent))
        import train_queue

        assert train_queue.main() == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == wanted
        text = text.replace("images = 2000", "images = 2400")


def test_what_is_done_ships_once_and_by_the_scripts_for_it(face_set, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import shipping
    import train_queue

    calls, refuse = [], []

    def run(command, **options):
        calls.append([Path(command[1]).name, *command[2:]])
        failed = calls[-1][0] in refuse
        return subprocess.CompletedProcess(command, int(failed), "", "a traceback\nthe last words" if failed else "")

    monkeypatch.setattr(shipping.subprocess, "run", run)
    monkeypatch.setattr(shipping, "manifest_of", lambda name: tmp_path / "weights" / "manifest.toml")
    (tmp_path / "weights").mkdir()
    file = write(tmp_path, face_set, QUEUE.replace('name = "first"', 'name = "first"\nship = "edsr_x8"'))
    monkeypatch.setattr(
        sys, "argv", ["train_queue.py", str(file), "--out", str(tmp_path / "zoo"), "--ship", "--hardware", "a card"]
    )
    done = {"images": 40, "total": 40, "pace": 1.0, "psnr": 20.0, "done": True}
    monkeypatch.setattr(train_queue.Training, "progress", lambda self: {**done, "done": self.name == "first"})
    folder = tmp_path / "zoo" / "first" / "experiments" / "first"
    folder.mkdir(parents=True)
    lines = [f'{{"iter": {n}, "time": 0.1}}' for n in range(1000)]
    lines[501] = '{"iter": 501, "psnr": 20.0, "validation_seconds": 1.0}'
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))

    refuse.append("ship_weights.py")
    assert train_queue.main() == 1
    said = capsys.readouterr().out
    assert "first: not shipped: ship_weights.py: the last words" in said
    assert not list((tmp_path / "weights").iterdir())
    refuse[:] = ["model_zoo.py"]  # weights ship, and their card fails
    calls.clear()
    assert train_queue.main() == 1
    refuse.clear()
    del calls[1:]
    assert train_queue.main() == 0  # makes up for the card, and does not ship the weights again
    assert calls == [
        ["ship_weights.py", str(folder), "edsr_x8", "--set", str(face_set), "--queue", "queue", "--hardware", "a card"],
        ["model_zoo.py", "--sets", str(face_set), "--card", "edsr_x8"],
    ]
    kept = (tmp_path / "weights" / "edsr_x8.jsonl").read_text().splitlines()
    assert 200 < len(kept) < 210
    assert lines[501] in kept
    assert kept[0] == lines[0]
    assert kept[-1] == lines[-1]
    assert train_queue.main() == 0  # nothing has been trained since
    assert len(calls) == 2
    said = capsys.readouterr().out
    assert "first: is shipped already, as edsr_x8" in said
    assert "then: not done, so not shipped" in said
    with (folder / "log.jsonl").open("a") as log:
        log.write(lines[0] + "\n")
    assert train_queue.main() == 0  # it has trained on, and takes the place of its own weights
    assert calls[2][-1] == "--replace"

    monkeypatch.setattr(train_queue.Training, "progress", lambda self: {**done, "done": self.name != "SRCNN_x8"})
    later = tmp_path / "zoo" / "then" / "experiments" / "then"
    later.mkdir(parents=True)
    (later / "log.jsonl").write_text(f"{lines[0]}\n")
    assert train_queue.main() == 0  # one that began with the weights of another: its card tells of both
    assert calls[-2][:3] == ["ship_weights.py", str(later), "then"]
    assert calls[-2][-2:] == ["--after", str(folder)]


@pytest.mark.skipif("edsr_equal_x8" not in list_pretrained(), reason="needs the second package: pip install ./baselines")
@pytest.mark.parametrize(
    ("queue", "name", "more", "replaced"),
    [
        ("table1_x8", "edsr_equal_x8", ["--replace"], True),
        ("table1_x8", "edsr_equal_x8", [], False),
        ("another", "edsr_equal_x8", ["--replace"], False),
        ("table1_x8", "edsr_x8", ["--replace"], False),  # ships, and is of no queue
        ("table1_x8", "nothing_ships_so_x8", ["--replace"], False),
    ],
)
def test_a_longer_training_replaces_weights_of_its_own_queue_alone(face_set, tmp_path, monkeypatch, queue, name, more, replaced):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import shipping
    import train_queue

    calls = []
    monkeypatch.setattr(shipping, "_call", lambda *words: calls.append(words))
    monkeypatch.setattr(shipping, "manifest_of", lambda name: tmp_path / "manifest.toml")
    file = tmp_path / f"{queue}.toml"
    file.write_text(QUEUE.replace('name = "first"', f'name = "first"\nship = "{name}"').format(data=face_set, images=40))
    monkeypatch.setattr(train_queue.Training, "progress", lambda self: {"done": self.name == "first"})
    folder = tmp_path / "zoo" / "first" / "experiments" / "first"
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text('{"iter": 10}\n')
    monkeypatch.setattr(sys, "argv", ["train_queue.py", str(file), "--out", str(tmp_path / "zoo"), "--ship", *more])
    assert train_queue.main() == 0
    assert ("--replace" in calls[0]) == replaced


def test_how_to_ship_is_said_only_of_shipping(tmp_path):
    for words in (["--replace"], ["--hardware", "a card"]):
        done = queue(tmp_path / "none.toml", *words)
        assert done.returncode == 2
        assert "--replace and --hardware say how to --ship" in done.stderr


@pytest.mark.parametrize(("given", "found"), [(None, ["0", "1", "0"]), ("2,5", ["2", "5", "2"])])
def test_each_training_gets_one_of_the_gpus_that_the_queue_may_use(monkeypatch, tmp_path, given, found):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import train_queue

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    queue = object.__new__(train_queue.Queue)
    queue.jobs = 2
    assert [queue._environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1, 2)] == found
