"""The one file that puts parts of ours in the place of BasicSR's trainer: loaders, states, logs, launcher.

The command ``basicsr`` does so. A script that calls ``basicsr.train.train_pipeline`` by itself does it by
``wnet_arch.patch_trainer()``; ``import wnet_arch`` changes nothing there.
"""

from __future__ import annotations

import os
from pathlib import Path

from wnet_arch.errors import PeerError, UsageError, WeightsError, WNetError


def patch_trainer() -> None:
    """Gives ``basicsr.train`` (every version) this package's parts, for the reasons that each states; once more changes nothing.

    * ``create_train_val_dataloader``: epochs end where they should, batches depend on the seed and the iteration alone.
    * ``load_resume_state``: resumes on CPUs, passes over damaged states; refuses a folder into which another process trains.
    * ``MessageLogger``, ``AvgTimer``, ``init_tb_loggers``: ``log.jsonl``, images a second, logs of continued runs in one.
    * ``basicsr.utils.options.init_dist``: processes on CPUs, and several machines.
    """
    import basicsr.train
    import basicsr.utils.options

    from wnet_arch.training.distributed import init_dist
    from wnet_arch.training.loaders import create_train_val_dataloader
    from wnet_arch.training.run_log import IterationTimer, JsonMessageLogger
    from wnet_arch.training.tensorboard_log import init_tb_loggers

    basicsr.utils.options.init_dist = init_dist
    basicsr.train.load_resume_state = load_resume_state
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    basicsr.train.MessageLogger = JsonMessageLogger
    basicsr.train.AvgTimer = IterationTimer
    basicsr.train.init_tb_loggers = init_tb_loggers


def load_resume_state(opt: dict) -> dict | None:
    """Replaces ``basicsr.train.load_resume_state`` (every version up to git 8d56e3a).

    The framework's own calls ``torch.cuda.current_device()``, so that nothing resumes without a GPU; looks for the states of
    ``--auto_resume`` under the current folder instead of the experiment's; and takes the newest, whole or not.

    Returns:
        The state with tensors on the CPU (optimizers move them to their parameters' device), or ``None`` when there is
        nothing to resume. Sets ``opt["resume"]`` for loaders and model, with a line for each option that has changed, and the
        seed to that of the run.

    Raises:
        UsageError: the file named in ``path.resume_state`` does not exist or is damaged, or every state of the run is; the run
            cannot go on with these options (see :mod:`wnet_arch.training.continuation`); or another process trains into this
            folder.
    """
    from basicsr.utils import check_resume

    from wnet_arch.training import continuation, training_state

    paths = opt["path"]
    _keep_others_out(paths["experiments_root"])  # the pipeline makes the folder next, or archives the one that is there
    models = paths.get("models", paths["experiments_root"])
    found = None
    if opt["auto_resume"]:
        found = training_state.newest(os.path.join(paths["experiments_root"], "training_states"), models)
        _agree(found[1]["iter"] if found else None)
    if found:
        paths["resume_state"], state = str(found[0]), found[1]
    elif paths.get("resume_state"):
        state = _named_state(Path(paths["resume_state"]), models)
    else:
        return None
    changed = continuation.settle(state, opt, Path(paths["resume_state"]))
    check_resume(opt, state["iter"])
    ignored = paths.get("ignore_resume_networks") or []
    for network in {"network_g", "network_d"} - set([ignored] if isinstance(ignored, str) else ignored):
        if (key := network.replace("network", "param_key")) in paths:
            paths[key] = "params"  # as the run's own files have it
    opt["resume"] = {**{key: state.get(key) for key in ("epoch", "iter", "draws", "precision")}, "changed": changed}
    if state.get("draws"):
        opt["manual_seed"] = state["draws"]["seed"]
    return state


def _keep_others_out(folder: str) -> None:
    from wnet_arch.training import run_lock
    from wnet_arch.training.distributed import is_first, share

    error = None
    if is_first():
        try:
            run_lock.take(folder)
        except WNetError as caught:
            error = caught
    if share(error is not None)[0]:
        raise error or PeerError("process 0 says what is wrong")


def _agree(iteration: int | None) -> None:
    """All processes have found the same state."""
    from wnet_arch.training.distributed import share

    found = share(iteration)
    if any(other != found[0] for other in found):
        raise UsageError(
            "--auto_resume: the processes of the run find different training states "
            f"({', '.join(map(str, found))}): experiments/ must be on a disk that all machines share"
        )


def _named_state(path: Path, models: str) -> dict:
    from wnet_arch.training import training_state

    if not path.is_file():
        raise UsageError(f"path.resume_state: there is no file {path}")
    try:
        return training_state.read(path, models)
    except WeightsError as error:
        raise UsageError(f"path.resume_state: {error}") from error
