"""The page of all commands and their options, from the parsers that read them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from wnet_arch.cli import basicsr, wnet

INTRODUCTION = """# Commands

Made from the commands themselves: `COMMAND --help` says the same. Exit codes: 0 done, 2 wrong arguments or options, 3 nothing to do
(no face found), 1 anything else. An error is one line; `--debug` shows where it came from.
"""


def page() -> str:
    """The page as Markdown: a section for each command, with its usage, its arguments and what its help ends with."""
    os.environ["COLUMNS"] = "110"  # argparse wraps the usage at the width of the terminal
    return "\n".join([INTRODUCTION, *_sections(basicsr.build_parser()), *_sections(wnet.build_parser())])


def _sections(parser: argparse.ArgumentParser, depth: int = 2, short: str = "") -> Iterator[str]:
    yield f"{'#' * depth} {parser.prog}\n"
    about = parser.description or short
    yield f"```text\n{about.strip()}\n```\n" if "\n" in about else f"{_sentence(about)}\n"
    yield f"```text\n{parser.format_usage().strip()}\n```\n"
    arguments = [action for action in parser._actions if action.help != argparse.SUPPRESS and action.dest != "help"]
    choices = [action for action in arguments if isinstance(action, argparse._SubParsersAction)]
    yield _table([action for action in arguments if action not in choices])
    if parser.epilog:
        yield f"```text\n{parser.epilog.strip()}\n```\n"
    for choice in choices:
        helps = {action.dest: action.help for action in choice._choices_actions}
        for name, sub in choice.choices.items():
            yield from _sections(sub, min(depth + 1, 4), helps.get(name) or "")


def _table(arguments: list[argparse.Action]) -> str:
    if not arguments:
        return ""
    rows = [f"| {_name(action)} | {_what(action)} |" for action in arguments]
    return "\n".join(["| argument | what |", "| --- | --- |", *rows, ""])


def _name(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else argparse.HelpFormatter("")._format_args(action, _metavar(action))
    names = [" ".join([option, value]).strip() for option in action.option_strings] or [value]
    return ", ".join(f"`{name}`" for name in names).replace("|", "\\|")


def _metavar(action: argparse.Action) -> str:
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper() if action.option_strings else action.dest


def _what(action: argparse.Action) -> str:
    text = argparse.HelpFormatter("")._expand_help(action) if action.help else ""
    needed = " (needed)" if action.required and action.option_strings else ""
    return _sentence(text).replace("|", "\\|") + needed


def _sentence(text: str) -> str:
    """Text for Markdown: in one line, nothing of it taken for markup but what is between backquotes."""
    parts = " ".join(text.split()).split("`")
    for number in range(0, len(parts), 2):
        for sign in "\\*_<[":
            parts[number] = parts[number].replace(sign, f"\\{sign}")
    return "`".join(parts)
