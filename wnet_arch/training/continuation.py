"""Options that have changed since a run was begun: which of them it can go on with, and what becomes of it.

A training state remembers the options of its run (:func:`options_of`). They are compared when it is continued, before anything is
written: each that differs either ends the run in one line, where going on would lose or misread what the state holds, or is one
line of the log. Nothing changes without a word. What depends on more than options - the images, their order, how many are drawn
together - the state remembers as ``draws``, see :mod:`wnet_arch.training.loaders`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from wnet_arch.errors import UsageError
from wnet_arch.training import warm_up
from wnet_arch.words import counted

#: What the framework adds to the options, or what belongs to one start of a run and not to the run; and the run's name, its folder.
_NOT_OF_THE_RUN = ("name", "path", "resume", "draws", "rank", "dist", "is_train", "auto_resume", "root_path")
_OF_EACH_SET = ("phase", "scale")
_NOT_GIVEN = "not given"


class Change(NamedTuple):
    """An option that differs: its dotted key, its value in the run, its value now; ``None`` where it is not given."""

    key: str
    before: Any
    now: Any


class _Lost(NamedTuple):
    """Options, by a pattern of their keys, with which a run cannot go on; ``when`` their values say so."""

    keys: str
    why: str
    when: Callable[[Any, Any], bool] = lambda before, now: True


#: Changes that end in a line. All others are told, and hold from the next iteration on.
_LOST = (
    _Lost("model_type", "its losses and optimizers are those of another training"),
    _Lost("scale", "its networks enlarge by that"),
    _Lost("network_*", "its weights belong to that network"),
    _Lost("train.optim_?.type", "what the optimizer remembers means nothing to another"),
    _Lost("train.optim_?.amsgrad", "the optimizer remembers no largest moments", lambda before, now: not before and bool(now)),
    _Lost("train.optim_?.centered", "the optimizer remembers no mean gradients", lambda before, now: not before and bool(now)),
    _Lost("train.frozen", "the optimizer remembers steps of the parts that are trained, and of no others"),
    _Lost("train.lr_mult*", "the optimizer remembers the parts in the groups that their rates make"),
    _Lost("train.ema_decay", "the moving average would be lost", lambda before, now: bool(before) and not now),
)
#: What the models of this package follow when it changes, and the framework's own do not: they take it from the state.
_FOLLOWED = ("train.optim_*", "train.scheduler*")
#: What a change brings with it, for its line.
_BRINGS = (
    ("train.ema_decay", "a new average begins with the weights as they are", lambda before, now: not before),
    ("train.optim_*", "the optimizer keeps what it remembers", None),
    ("train.scheduler*", "the rate continues as if it had been so from the start", None),
    ("val.metrics.*", "its best value starts again", None),
    ("val.keep_best", "the best starts again", None),
    ("datasets.val*", "best values on it start again", None),
)


def options_of(opt: dict) -> dict[str, Any]:
    """The options of a run by dotted keys, ``train.optim_g.lr`` for one, without what the framework has added to them."""
    kept = {key: value for key, value in opt.items() if key not in _NOT_OF_THE_RUN}
    if isinstance(kept.get("datasets"), dict):
        blocks = kept["datasets"].items()
        kept["datasets"] = {
            phase: {key: value for key, value in block.items() if key not in _OF_EACH_SET} if isinstance(block, dict) else block
            for phase, block in blocks
        }
    return dict(_flat(kept, ""))


def _flat(block: dict, prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in block.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """What differs between the options of a run, as :func:`options_of` gives them, and others, in the order of these."""
    before, now = _with_defaults(before), _with_defaults(now)
    keys = [*now, *(key for key in before if key not in now)]
    return [Change(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]


def _with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """With the arguments that networks have where none is given: giving the same is no change."""
    from basicsr.utils.registry import ARCH_REGISTRY  # here: BasicSR's import asks for this module, see training/logs.py

    found: dict[str, Any] = {}
    for key, name in options.items():
        network, _, rest = key.partition(".")
        if network.startswith("network_") and rest == "type" and name in ARCH_REGISTRY:
            parameters = inspect.signature(ARCH_REGISTRY.get(name)).parameters
            found |= {f"{network}.{n}": p.default for n, p in parameters.items() if p.default is not p.empty}
    return found | options


def settle(state: dict, opt: dict, path: Path) -> dict[str, str]:
    """Compares the options of a run with those it is to be continued with.

    Args:
        state: of the run.
        opt: the options now, as the framework has parsed them.
        path: of the state: a run from before states remembered options left its option file two folders above.

    Returns:
        A line for each that differs, by its key, in which the run goes on; none where nothing differs.

    Raises:
        UsageError: the run cannot go on so.
    """
    before, now = state.get("options"), options_of(opt)
    if before is None:
        before = _from_option_file(path.parent.parent)
        if before is None:
            return {"options": f"{path} does not tell with which options its run was begun: what has changed since is not noticed"}
        before["world_size"] = len(state.get("random") or [0])
    seed = (state.get("draws") or {}).get("seed")
    before, now = ({key: value for key, value in options.items() if key != "manual_seed"} for options in (before, now))
    found = changes(before, now)
    _refuse(found, opt["model_type"])
    lines = {change.key: _line(change, state["iter"]) for change in found}
    if seed is not None and seed != opt["manual_seed"]:
        lines["manual_seed"] = f"manual_seed: the run keeps the one it began with, {seed} (not {opt['manual_seed']})"
    return lines


def _refuse(found: list[Change], model_type: str) -> None:
    from basicsr.utils.registry import MODEL_REGISTRY

    lost: tuple[_Lost, ...] = _LOST
    if not getattr(MODEL_REGISTRY.get(model_type), "follows_changes", False):
        lost += tuple(_Lost(keys, f"{model_type} takes that from the state") for keys in _FOLLOWED)
    reasons = [(change, rule.why) for change in found for rule in lost if _applies(change, rule.keys, rule.when)]
    if not reasons:
        return
    (key, before, now), why = reasons[0]
    others = list(dict.fromkeys(change.key for change, _ in reasons if change.key != key))
    more = f" (the same for {', '.join(others)})" if others else ""
    raise UsageError(
        f"path.resume_state: that run had {key}: {_shown(before)}, these options have {_shown(now)}, and {why}{more}; give the "
        "same, or start a new run from its weights (path.pretrain_network_g)"
    )


def _line(change: Change, iteration: int) -> str:
    brings = next((f"; {words}" for keys, words, when in _BRINGS if _applies(change, keys, when)), "")
    return f"From iteration {iteration + 1} on, {change.key}: {_shown(change.before)} -> {_shown(change.now)}{brings}"


def _applies(change: Change, keys: str, when: Callable[[Any, Any], bool] | None) -> bool:
    return fnmatch(change.key, keys) and (when is None or when(change.before, change.now))


def _shown(value: Any) -> str:
    return _NOT_GIVEN if value is None else str(value)


def _from_option_file(folder: Path) -> dict[str, Any] | None:
    """Options of a run whose states do not remember any: the framework has left its option file in the folder of the run."""
    files = sorted(folder.glob("*.yml"), key=lambda file: file.stat().st_mtime)
    try:
        before = options_of(yaml.safe_load(files[-1].read_text(encoding="utf-8")))
    except (IndexError, OSError, ValueError, AttributeError, yaml.YAMLError):
        return None
    if before.get("num_gpu") == "auto":
        before["num_gpu"] = torch.cuda.device_count()
    return before


# --- what a model of this package does with them --------------------------------------------------------------------------


def load_optimizers(optimizers: list, schedulers: list, state: dict, changed: Iterable[str]) -> None:
    """Puts optimizers and schedules where a run has left them.

    Where one of their options has changed, they do what the options say now: the optimizers with what they remember of their
    steps, the schedules as if they had been so from the first iteration.

    Args:
        optimizers: as the options build them.
        schedulers: one for each.
        state: of the run.
        changed: keys of the options that have changed.

    Raises:
        UsageError: the state is one of another training.
    """
    if (len(state["optimizers"]), len(state["schedulers"])) != (len(optimizers), len(schedulers)):
        had = counted(len(state["optimizers"]), "optimizer")
        raise UsageError(
            f"path.resume_state: that run had {had}, this one has {len(optimizers)}: give its "
            "model_type, or start a new run from its weights (path.pretrain_network_g)"
        )
    built = [[{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups] for optimizer in optimizers]
    try:
        for optimizer, remembered in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(remembered)
    except ValueError as error:  # a state that does not remember its options
        raise UsageError(f"path.resume_state: the optimizers of that run are others ({' '.join(str(error).split())})") from error
    for optimizer, groups in zip(optimizers, built):  # Muon's precision is the machine's way of computing, nothing to remember
        for group, options in zip(optimizer.param_groups, groups):
            group.update({key: value for key, value in options.items() if key == "precision"})
    follows = any(fnmatch(key, keys) for key in changed for keys in _FOLLOWED)
    for optimizer, groups, scheduler, remembered in zip(optimizers, built, schedulers, state["schedulers"]):
        if not follows:
            scheduler.load_state_dict(remembered)
            continue
        warm_up.undo(optimizer.param_groups)
        for group, options in zip(optimizer.param_groups, groups):
            group.update(options)
        _begin_momentum(optimizer)
        _advance(scheduler, remembered["last_epoch"])


def _begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """From nothing, where it is turned on: RMSprop makes room for it at its first step only."""
    if not isinstance(optimizer, torch.optim.RMSprop):
        return
    for group in (group for group in optimizer.param_groups if group["momentum"]):
        for parameter in (parameter for parameter in group["params"] if optimizer.state[parameter]):
            optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def _advance(scheduler, iterations: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(iterations):
            scheduler.step()


def still_best(best: dict, changed: Iterable[str], opt: dict) -> dict:
    """The best values of a run (by data set and metric) that those to come can be compared with.

    Args:
        best: of the run.
        changed: keys of the options that have changed.
        opt: the options now.
    """
    changed = list(changed)
    val = opt.get("val") or {}
    metrics = {name for name in val.get("metrics") or {} if not any(fnmatch(key, f"val.metrics.{name}.*") for key in changed)}
    if "val.keep_best" in changed:
        metrics.discard(val.get("keep_best"))
    sets = {
        block["name"]
        for phase, block in (opt.get("datasets") or {}).items()
        if phase.split("_")[0] == "val" and not any(key.startswith(f"datasets.{phase}.") for key in changed)
    }
    return {name: {m: value for m, value in values.items() if m in metrics} for name, values in best.items() if name in sets}
