"""What a run has reported, one JSON object a line, beside the framework's text log: ``log.jsonl`` in the experiment's folder.

A line of training has ``iter``, ``epoch``, ``lrs``, ``time``, ``data_time`` and the loss terms; a line of validation ``iter``,
``set`` and the metrics. A continued run drops what was reported behind the state it continues from.
"""

from __future__ import annotations

import json
from pathlib import Path

from basicsr.utils import MessageLogger

FILE = "log.jsonl"


def append(opt: dict, entry: dict) -> None:
    """Adds a line, on the first process of a training run."""
    if opt["is_train"] and opt.get("rank", 0) == 0 and opt["path"].get("experiments_root"):
        with open(Path(opt["path"]["experiments_root"], FILE), "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def drop_behind(opt: dict, iteration: int) -> None:
    """Removes what is behind an iteration, and a line that was cut off."""
    path = Path(opt["path"]["experiments_root"], FILE)
    if opt.get("rank", 0) or not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["iter"] <= iteration:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue
    part = path.with_suffix(".part")
    part.write_text("".join(kept), encoding="utf-8")
    part.replace(path)


class JsonMessageLogger(MessageLogger):
    """The framework's logger of training messages, which also writes the JSON line."""

    def __init__(self, opt: dict, start_iter: int = 1, tb_logger=None):
        super().__init__(opt, start_iter, tb_logger)
        self.opt = opt
        drop_behind(opt, start_iter)

    def __call__(self, log_vars: dict) -> None:
        append(self.opt, {key: round(value, 8) if isinstance(value, float) else value for key, value in log_vars.items()})
        super().__call__(log_vars)
