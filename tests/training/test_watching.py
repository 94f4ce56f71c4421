"""What one sees of a run: bar, log lines, JSON lines, TensorBoard, wandb."""

from __future__ import annotations

import io
import json
import logging
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_train_command import basicsr, run_options, write_options
from tests.conftest import drawn_face
from tests.terminal import run_on_terminal, screen
from wnet_arch.cli import basicsr as command
from wnet_arch.errors import UsageError
from wnet_arch.training import progress, run_log, tensorboard_log
from wnet_arch.weights.checkpoint import remove


def watched_options(face_set: Path) -> dict:
    opt = run_options(face_set)
    opt["train"]["total_iter"] = 6
    opt["logger"].update(print_freq=2, save_checkpoint_freq=2, use_tb_logger=True)
    opt["val"].update(val_freq=4, pbar=True)
    return opt


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Everything TensorBoard shows of the runs in a folder, by tag and iteration; an iteration twice is an error."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert all(len(dict(values)) == len(values) for values in found.values())
    return {tag: dict(values) for tag, values in found.items()}


def pictures(folder: Path, tag: str) -> dict[int, np.ndarray]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return {event.step: np.asarray(Image.open(io.BytesIO(event.encoded_image_string))) for event in events.Images(tag)}


# --- whole runs -------------------------------------------------------------------------------------------------------


def test_on_a_terminal_a_bar_stands_below_whole_log_lines(tmp_path, face_set):
    file = write_options(tmp_path / "tiny.yml", watched_options(face_set))
    arguments = [sys.executable, "-m", "wnet_arch.cli.basicsr", "train", "-opt", str(file)]
    code, _, written = run_on_terminal(arguments, tmp_path)
    assert code == 0, written
    assert written.count("\r") > 12
    log = next((tmp_path / "experiments" / "tiny").glob("train_*.log")).read_text().splitlines()
    seen = screen(written)
    assert [line for line in seen if " INFO:" in line] == [line.rstrip() for line in log if " INFO:" in line]
    assert "Validation val: " in written  # validation's own bar, gone again
    assert not any("Validation val: " in line for line in seen)
    assert [line for line in seen if line][-1].startswith("tiny 100%|")
    assert sum("tiny " in line and "%|" in line for line in seen) == 1
    assert "| 6/6, " in written
    assert " images/s, loss 0." in written
    assert "left" in written


def test_elsewhere_there_are_log_lines_alone_and_tensorboard_goes_on_where_the_run_does(tmp_path, face_set):
    opt = watched_options(face_set)
    opt["val"]["pbar"] = False
    opt["train"]["total_iter"] = 5
    file = write_options(tmp_path / "tiny.yml", opt)
    run = basicsr("train", "-opt", file, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert not {"\r", "\x1b"} & set(run.stderr)
    assert "%|" not in run.stderr

    experiment = tmp_path / "experiments" / "tiny"
    remove(experiment / "training_states" / "4.state")
    opt["train"]["optim_g"]["lr"] = 0.004  # what the run does again will look different
    opt["train"]["total_iter"] = 6
    run = basicsr("train", "-opt", write_options(file, opt), "--auto_resume", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert [path.name for path in (tmp_path / "tb_logger").iterdir()] == ["tiny"]  # nothing was archived

    lines = [json.loads(line) for line in (experiment / "log.jsonl").read_text().splitlines()]
    training = {line["iter"]: line for line in lines if "l_pix" in line}
    assert list(training) == [2, 4, 6]
    shown = scalars(tmp_path / "tb_logger" / "tiny")
    for tag in ("losses/l_pix", "losses/l_parsing", "speed/images_per_second"):
        key = tag.partition("/")[2]
        # The log rounds the speed to hundredths.
        assert shown[tag] == pytest.approx({i: line[key] for i, line in training.items()}, rel=1e-3, abs=0.006 * ("speed" in tag))
    assert set(shown["train/lr"]) == {2, 4, 6}
    validated = {line["iter"]: line["psnr"] for line in lines if "psnr" in line}
    assert list(validated) == [4, 6]
    assert shown["metrics/val/psnr"] == pytest.approx(validated, rel=1e-6)
    sheets = pictures(tmp_path / "tb_logger" / "tiny", "validation/val")
    assert list(sheets) == [4, 6]
    gt, _ = drawn_face(0)
    seen = np.lib.stride_tricks.sliding_window_view(sheets[6][..., 0], gt.shape[:2])
    assert (seen == gt[..., 0]).all(axis=(2, 3)).any()  # the first HR face, pixel by pixel


@pytest.mark.parametrize(
    ("logger", "hidden", "said"),
    [
        ({"use_tb_logger": True}, "tensorboard", r"logger.use_tb_logger: TensorBoard cannot .*`pip install tensorboard`"),
        ({"use_tb_logger": True, "wandb": {"project": "p"}}, "wandb", r"logger.wandb.project: wandb cannot .*`pip install wandb`"),
        ({"use_tb_logger": False, "wandb": {"project": "p"}}, None, "logger.use_tb_logger must be true"),
    ],
)
def test_what_is_not_installed_is_said_before_anything_is_made(tmp_path, face_set, monkeypatch, logger, hidden, said):
    opt = run_options(face_set)
    opt["logger"].update(logger)
    file = write_options(tmp_path / "tiny.yml", opt)
    if hidden:
        for name in [name for name in sys.modules if name.startswith((f"{hidden}.", "torch.utils.tensorboard"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, hidden, None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said) as error:
        command._main(["train", "-opt", str(file)])
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yml"]


# --- the bar ----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bar_options(**logger) -> dict:
    return {"name": "tiny", "rank": 0, "train": {"total_iter": 10}, "logger": logger, "draws": {"together": 8}}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved: ``clock.now += 1``."""
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    return clock


def test_the_bar_tells_pace_loss_and_time_left(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", Terminal())
    opt = bar_options()
    bar_text = []
    for iteration, seconds in ((1, 0), (2, 30), (3, 2), (4, 2), (5, 2 + 6)):  # slow start; a validation in the fourth
        clock.now += seconds
        progress.begin(opt, iteration, {"l_pix": 0.25, "l_d_real": 9.0, "out_d_real": 3.0, "l_percep": 0.5})
        bar_text.append(progress._bar.describe(clock.now, {"l_pix": 0.5}))
    assert bar_text[0] == "loss 0.5"
    assert bar_text[3] == "4.0 images/s, loss 0.5, 0:00:14 left"  # 2 s an iteration, 7 to go
    assert bar_text[4] == "1.6 images/s, loss 0.5, 0:00:24 left"
    progress.close(finished=True)
    assert sys.stderr.getvalue().rstrip().endswith("5/10, 1.6 images/s, loss 0.75")
    assert "loss 0.75" in sys.stderr.getvalue()
    assert progress._bar is None


def test_an_error_is_printed_below_the_bar_and_logging_is_as_before(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    handlers = list(logging.getLogger("basicsr").handlers)

    def broken_run():
        with progress.closed_afterwards():
            progress.begin(bar_options(), 4, {})
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken_run()
    assert sys.stderr.getvalue().endswith("\n")
    assert "3/10" in sys.stderr.getvalue()
    assert logging.getLogger("basicsr").handlers == handlers


def test_there_is_no_bar_unless_it_is_wanted_and_can_be_seen(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert progress.is_wanted(bar_options())
    assert not progress.is_wanted(bar_options(progress=False))
    assert not progress.is_wanted({**bar_options(), "rank": 1})
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    progress.begin(bar_options(), 1, {})
    assert sys.stderr.getvalue() == ""
    assert progress._bar is None


# --- log lines --------------------------------------------------------------------------------------------------------


def test_timers_average_what_was_recorded_since_they_were_asked(clock):
    timer = run_log.IterationTimer()
    for _ in range(3):
        clock.now += 2
        timer.record()
        clock.now += 50  # a validation
        timer.start()
    assert timer.get_avg_time() == 2
    clock.now += 3
    timer.record()
    assert timer.get_avg_time() == 3


class Writer:
    """Stands for TensorBoard's."""

    def __init__(self):
        self.scalars, self.flushed = {}, 0

    def add_scalar(self, tag, value, step):
        self.scalars[tag, step] = value

    def flush(self):
        self.flushed = len(self.scalars)


def reporter(tmp_path, start: int, total: int):
    opt = {"name": "tiny", "is_train": True, "rank": 0, "train": {"total_iter": total}, "logger": {}, "draws": {"together": 8},
           "path": {"experiments_root": str(tmp_path)}}  # fmt: skip
    return run_log.JsonMessageLogger(opt, start, Writer())


def log_vars(iteration: int, **terms) -> dict:
    return {"epoch": 1, "iter": iteration, "lrs": [1e-3, 2e-3], "time": 0.5, "data_time": 0.1, **terms}


def test_time_left_counts_from_where_the_run_was_continued(tmp_path, clock, monkeypatch):
    messages = []
    monkeypatch.setattr("basicsr.utils.get_root_logger", lambda: types.SimpleNamespace(info=messages.append))
    report = reporter(tmp_path, 1000, 1100)
    clock.now += 20
    report(log_vars(1010, l_pix=0.25, out_d_real=2.0))
    (message,) = messages
    assert "[eta: 0:03:00, 16.0 images/s, time (data): 0.500 (0.100)] l_pix: 2.5000e-01 out_d_real: 2.0000e+00" in message
    (line,) = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert line == {**log_vars(1010, l_pix=0.25, out_d_real=2.0), "images_per_second": 16.0}
    assert report.tb_logger.scalars == {
        ("losses/l_pix", 1010): 0.25, ("train/out_d_real", 1010): 2.0, ("train/lr_0", 1010): 1e-3, ("train/lr_1", 1010): 2e-3,
        ("train/epoch", 1010): 1, ("speed/images_per_second", 1010): 16.0, ("speed/seconds_per_iteration", 1010): 0.5,
        ("speed/share_waiting_for_data", 1010): 0.2,
    }  # fmt: skip
    assert report.tb_logger.flushed == len(report.tb_logger.scalars)


def test_time_left_leaves_the_slow_first_iteration_out(tmp_path, clock):
    report = reporter(tmp_path, 0, 12)
    clock.now += 60
    report.reset_start_time()
    assert report._seconds_left(1) == 60 * 11  # nothing else is known yet
    clock.now += 2
    assert report._seconds_left(2) == 2 * 10
    assert report._seconds_left(12) == 0


# --- wandb ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in that remembers how it was called; nothing is sent anywhere."""
    module = types.ModuleType("wandb")
    module.calls = []
    module.init = lambda **options: module.calls.append(options)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def wandb_options(tmp_path, **more) -> dict:
    (tmp_path / "experiment").mkdir(exist_ok=True)
    logger = {"use_tb_logger": True, "wandb": {"project": "faces", "resume_id": None}}
    return {"name": "tiny", "rank": 0, "root_path": str(tmp_path), "logger": logger,
            "path": {"experiments_root": str(tmp_path / "experiment")}, **more}  # fmt: skip


def test_wandb_knows_a_continued_run_again(tmp_path, wandb):
    opt = wandb_options(tmp_path)
    tensorboard_log.init_tb_loggers(opt).close()
    first = wandb.calls[0]
    assert first == {"id": first["id"], "resume": "never", "name": "tiny", "config": opt, "project": "faces",
                     "sync_tensorboard": True, "dir": str(tmp_path / "experiment")}  # fmt: skip
    assert (tmp_path / "experiment" / "wandb_id.txt").read_text().strip() == first["id"]
    tensorboard_log.init_tb_loggers(wandb_options(tmp_path, resume={"iter": 2})).close()
    assert (wandb.calls[1]["id"], wandb.calls[1]["resume"]) == (first["id"], "allow")
    tensorboard_log.init_tb_loggers(wandb_options(tmp_path)).close()
    assert wandb.calls[2]["id"] != first["id"]  # a new run in the same place
    named = wandb_options(tmp_path)
    named["logger"]["wandb"]["resume_id"] = "abc"
    tensorboard_log.init_tb_loggers(named).close()
    assert (wandb.calls[3]["id"], wandb.calls[3]["resume"]) == ("abc", "allow")


def test_wandb_is_called_by_the_first_process_alone_and_not_in_debugging(tmp_path, wandb):
    assert tensorboard_log.init_tb_loggers(wandb_options(tmp_path, rank=1)) is None
    assert tensorboard_log.init_tb_loggers({**wandb_options(tmp_path), "name": "debug_tiny"}) is None
    assert wandb.calls == []
    assert not (tmp_path / "tb_logger").exists()
