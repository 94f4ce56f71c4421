"""The checks of options in their order: what the schema says, what belongs together, and what can be built."""

from __future__ import annotations

from collections.abc import Sequence

from wnet_arch.errors import UsageError, WNetError


def check(opt: dict, is_train: bool, plugins: Sequence[str] = ()) -> dict:
    """Checks options, at last by building, once, the networks, losses and data sets they describe.

    Args:
        opt: options as they were read; they stay as they are.
        is_train: for ``basicsr train``, else for ``basicsr test``.
        plugins: packages that were loaded beside the framework, for messages.

    Returns:
        The options with whole numbers such as 1e5 as integers.

    Raises:
        UsageError: the first thing found wrong, and how many more there are.
    """
    problems, settled = _problems(opt, is_train, plugins)
    _raise_first(problems)
    from wnet_arch.options.building import check_building
    from wnet_arch.options.problems import printable

    try:
        check_building(settled, is_train)
    except WNetError as error:
        raise type(error)(printable(str(error))) from error
    return settled


def check_schema(opt: dict, is_train: bool, plugins: Sequence[str] = ()) -> dict:
    """The first part of :func:`check`: keys, types, ranges and registered names. Reads no file, and is quick.

    Returns:
        The options with whole numbers such as 1e5 as integers.

    Raises:
        UsageError: the first thing found wrong, and how many more there are.
    """
    from wnet_arch.options.problems import find_problems, printable

    problems, settled = find_problems(opt, is_train, plugins)
    _raise_first(list(map(printable, problems)))
    return settled


def _raise_first(problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more; `wnet validate` lists them)" if len(problems) > 1 else ""
        raise UsageError(problems[0] + more)


def list_problems(opt: dict, is_train: bool, plugins: Sequence[str] = ()) -> list[str]:
    """Everything that is wrong with options as far as it can be told without building anything, one line each."""
    return _problems(opt, is_train, plugins)[0]


def list_everything(opt: dict, is_train: bool, plugins: Sequence[str] = ()) -> list[str]:
    """Everything that is wrong with options, with what shows when networks, losses and data sets are built, one line each."""
    from wnet_arch.options.problems import find_problems, printable
    from wnet_arch.options.relations import find_contradictions

    problems, settled = find_problems(opt, is_train, plugins)
    if not problems:
        from wnet_arch.options.building import find_faults

        problems = find_contradictions(settled, is_train)
        faults = [str(fault) for fault in find_faults(settled, is_train)]
        problems += [fault for fault in faults if not any(known in fault or fault in known for known in problems)]
    return list(map(printable, problems))


def _problems(opt: dict, is_train: bool, plugins: Sequence[str]) -> tuple[list[str], dict]:
    # Imported here: pydantic is not needed by commands that only read option files.
    from wnet_arch.options.problems import find_problems, printable
    from wnet_arch.options.relations import find_contradictions

    problems, settled = find_problems(opt, is_train, plugins)
    return list(map(printable, problems or find_contradictions(settled, is_train))), settled
