"""Blocks whose keys are the arguments of what their ``type`` names: networks, losses, metrics, optimizers, schedules."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Optional, get_type_hints

from basicsr.utils import registry
from pydantic import Field, create_model

from wnet_arch.options import kinds, training
from wnet_arch.options.blocks import Block, OpenBlock
from wnet_arch.training.optimizers import optimizers


def registered(known: registry.Registry, name: Any) -> Any:
    """What is registered under a name, as the framework finds it; ``None`` where nothing is."""
    if not isinstance(name, str):
        return None
    return next((known.get(full) for full in (name, f"{name}_basicsr") if full in known), None)


@functools.cache
def signature_block(target: Any, base: type[Block], given: tuple[str, ...] = ()) -> type[Block]:
    """A block whose keys are the arguments of a class or function.

    Args:
        target: takes the entries of the block as keyword arguments.
        base: describes some of the keys; ``type`` is always one.
        given: arguments that the caller gives.
    """
    hints = get_type_hints(base, include_extras=True)
    parameters = inspect.signature(target).parameters
    swallows = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    infer = target.__module__.startswith("basicsr.losses")
    new: dict[str, Any] = {"type": (hints["type"], base.model_fields["type"])}
    if "better" in hints and (swallows or hasattr(target, "check_options")):
        new["better"] = (hints["better"], base.model_fields["better"])
    for index, (name, parameter) in enumerate(parameters.items()):
        if name in given or name in new or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name in hints:
            kind = hints[name]
        elif parameter.annotation is not parameter.empty:
            kind = kinds.of_annotation(parameter.annotation)
        else:
            kind = kinds.of_default(parameter.default) if infer else Any
        needed = parameter.default is parameter.empty or (name in hints and base.model_fields[name].is_required())
        default = ... if needed else parameter.default
        new[f"argument_{index}"] = (Optional[kind] if default is None else kind, Field(default, alias=name))
    closed = not swallows or target.__module__.startswith("basicsr.metrics")  # there, **kwargs only swallows `better`
    made = create_model(base.__name__, __base__=Block if closed else OpenBlock, **new)
    made.owner = target.__name__
    return made


def block_of_type(base: type[Block], known: registry.Registry, value: Any, given: tuple[str, ...] = ()) -> type[Block]:
    """The block of what ``value``, a block of options, names in a registry; ``base`` where it names nothing."""
    target = registered(known, value.get("type")) if isinstance(value, dict) else None
    return base if target is None else signature_block(target, base, given)


def block_of_optimizer(value: Any) -> type[Block]:
    """The block of an optimizer that ``value``, a block of options, names."""
    name = value.get("type") if isinstance(value, dict) else None
    target = optimizers().get(name) if isinstance(name, str) else None
    return training.Optimizer if target is None else signature_block(target, training.Optimizer, ("params",))


def block_of_scheduler(value: Any) -> type[Block]:
    """The block of a schedule that ``value``, a block of options, names."""
    name = value.get("type") if isinstance(value, dict) else None
    return training.SCHEDULERS.get(name, training.Scheduler) if isinstance(name, str) else training.Scheduler
