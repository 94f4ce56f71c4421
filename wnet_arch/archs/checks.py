"""What options of networks may be; each check names the network and the option."""

from __future__ import annotations

from collections.abc import Sequence

from wnet_arch.errors import NetworkError


def check_counts(network: str, **counts: int) -> None:
    """Raises :class:`NetworkError`, naming network and option, unless every value is a whole number above 0."""
    for option, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise NetworkError(f"{network} takes a whole number above 0 for {option}, not {value!r}")


def check_multiple(network: str, option: str, value: int, factor: int) -> None:
    """Raises :class:`NetworkError` unless ``value`` is a positive multiple of ``factor``."""
    check_counts(network, **{option: value})
    if value % factor:
        raise NetworkError(f"{network} takes a multiple of {factor} for {option}, not {value!r}")


def check_choice(network: str, option: str, value: object, choices: Sequence) -> None:
    """Raises :class:`NetworkError` unless ``value`` is one of ``choices``."""
    if not any(value is c or (type(value) is type(c) and value == c) for c in choices):
        *some, last = map(repr, choices)
        known = f"{', '.join(some)} or {last}" if some else last
        raise NetworkError(f"{network} takes {known} for {option}, not {value!r}")


def check_flags(network: str, **flags: bool) -> None:
    """Raises :class:`NetworkError` unless every value is true or false: of texts, "false" would count as true."""
    for option, value in flags.items():
        check_choice(network, option, value, (True, False))
