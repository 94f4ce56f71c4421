"""TensorBoard, and wandb on top of it, for training runs: checked before anything is made, and continued with the run.

The files are in ``tb_logger/NAME`` under the folder that the run was started in, as the framework has it; wandb's are in the
experiment's folder, and the number that it knows the run by, in ``wandb_id.txt``.
"""

from __future__ import annotations

import importlib
import os
import secrets
from pathlib import Path

from wnet_arch import disk
from wnet_arch.errors import UsageError
from wnet_arch.training.logs import get_root_logger

WANDB_ID = "wandb_id.txt"


def check(opt: dict) -> None:
    """Checks that what ``logger`` asks for is installed.

    Raises:
        UsageError: it is not; or wandb is to be used without TensorBoard, whose numbers it takes over.
    """
    logger = opt.get("logger") or {}
    if logger.get("use_tb_logger"):
        _import("torch.utils.tensorboard", "logger.use_tb_logger", "TensorBoard", "tensorboard")
    if _project(opt):
        if not logger.get("use_tb_logger"):
            raise UsageError("logger.wandb.project: wandb takes over what TensorBoard gets, so logger.use_tb_logger must be true")
        _import("wandb", "logger.wandb.project", "wandb", "wandb")


def _project(opt: dict) -> str | None:
    return ((opt.get("logger") or {}).get("wandb") or {}).get("project")


def _import(module: str, option: str, name: str, package: str):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{option}: {name} cannot be imported ({error}): run `pip install {package}`, or unset it") from error


def init_tb_loggers(opt: dict):
    """Replaces ``basicsr.train.init_tb_loggers`` (every version): opens what ``logger`` asks for, on the first process.

    The framework's own writes what a continued run does again beside what the interrupted one did after its last checkpoint,
    and gives a continued run a new number at wandb, unless told the old one.

    Args:
        opt: the options, with ``resume`` (see :func:`wnet_arch.training.patches.load_resume_state`) where a run is continued.

    Returns:
        A ``SummaryWriter``, or ``None``; none in debugging either, as in the framework.

    Raises:
        UsageError: see :func:`check`.
    """
    if opt.get("rank", 0) or "debug" in opt["name"] or not opt["logger"].get("use_tb_logger"):
        return None
    check(opt)
    from torch.utils.tensorboard import SummaryWriter

    resume = opt.get("resume")
    if _project(opt):  # first: it watches what TensorBoard's writer does from then on
        _init_wandb(opt, bool(resume))
    folder = os.path.join(opt["root_path"], "tb_logger", opt["name"])
    return SummaryWriter(folder, purge_step=resume["iter"] + 1 if resume else None, flush_secs=10)


def _init_wandb(opt: dict, is_resumed: bool) -> None:
    import wandb

    root = Path(opt["path"]["experiments_root"])
    file = root / WANDB_ID
    number = opt["logger"]["wandb"].get("resume_id")
    if not number and is_resumed and file.is_file():
        number = file.read_text(encoding="ascii").strip()
    known, number = bool(number), number or secrets.token_hex(4)
    disk.write_text(file, f"{number}\n")
    resume = "allow" if known else "never"
    project = _project(opt)
    wandb.init(id=number, resume=resume, name=opt["name"], config=opt, project=project, sync_tensorboard=True, dir=str(root))
    get_root_logger().info(f"wandb: {'continues' if known else 'starts'} run {number} of project {project}")
