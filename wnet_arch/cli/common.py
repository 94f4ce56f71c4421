"""What the commands share: errors as one line, exit codes, options by older names."""

from __future__ import annotations

import argparse
import io
import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from wnet_arch import disk
from wnet_arch.errors import NO_FRAMEWORK, PeerError, WNetError


def one_line(error: BaseException) -> str:
    """The message of an error on one line; of an error from a loader's worker process, what the worker raised."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].split(": ", 1)[-1]
    text = " ".join(text.split())
    return text if isinstance(error, WNetError) else f"{type(error).__name__}: {text}"


class Command(argparse.ArgumentParser):
    """The parser of a command: what stands below its options in the help (``epilog``) is printed as it is written."""

    def __init__(self, *args, **options):
        super().__init__(*args, **{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})


def add_old_name(parser: argparse.ArgumentParser, old: str, new: str) -> None:
    """Takes an option by the name it had in earlier versions, too, and says its name of today."""
    action = next(action for action in parser._actions if new in action.option_strings)

    class Renamed(argparse.Action):
        def __call__(self, parser, namespace, value, option_string=None) -> None:
            print(f"note: {old} is called {new} now", file=sys.stderr)
            setattr(namespace, self.dest, value)

    parser.add_argument(
        old, action=Renamed, dest=action.dest, type=action.type or str, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


#: Exit code of a program whose output is no longer read, as shells know it: 128 and the number of SIGPIPE.
NOBODY_READS = 141


@contextmanager
def _full_disks_in_one_line(program: str) -> Iterator[None]:
    """A log that cannot be written does not end a run, and a thread that cannot write tells the main one, without a traceback."""
    before, log_before = threading.excepthook, logging.Handler.handleError
    said: list[str] = []

    def in_thread(args) -> None:
        if not disk.is_full(args.exc_value):
            before(args)

    def in_log(handler: logging.Handler, record: logging.LogRecord) -> None:
        if not disk.is_full(sys.exc_info()[1]):
            log_before(handler, record)
        elif not said:
            said.append(disk.no_space(getattr(handler, "baseFilename", None), "the log continues"))
            print(f"{program}: {said[0]}", file=sys.stderr, flush=True)

    threading.excepthook = in_thread
    logging.Handler.handleError = in_log  # type: ignore[assignment, method-assign]  # for all handlers, and only inside
    try:
        yield
    finally:
        threading.excepthook = before
        logging.Handler.handleError = log_before  # type: ignore[method-assign]  # what it was


def _nobody_reads() -> bool:
    """Whether standard output is a pipe that was closed; what is left in its buffer is then dropped, without a word at the exit."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    closed = any(event & select.POLLERR for _, event in poll.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


def run_script(main: Callable[[], int]) -> int:
    """:func:`run_command` for a script whose main function reads ``sys.argv`` itself; ``WNET_DEBUG`` alone keeps tracebacks."""
    return run_command(os.path.basename(sys.argv[0]), lambda argv: main(), debug="WNET_DEBUG=1")


def run_command(
    program: str, main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None, debug: str = "--debug"
) -> int:
    """Runs a command's main function and turns every error into one line on standard error and an exit code.

    Exit codes: 0 done, 2 wrong arguments or options, 3 nothing to do, 130 interrupted, 141 nobody reads the output (``| head``),
    1 anything else. With ``--debug``
    among the arguments, or ``WNET_DEBUG`` set, errors keep their traceback; ``debug`` is what an unforeseen one advises.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have letters that the output's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _full_disks_in_one_line(program):
            code = main(argv)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return NOBODY_READS
        if isinstance(error, PeerError):
            return error.exit_code
        if "--debug" in argv or os.environ.get("WNET_DEBUG"):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name == "basicsr":
            error = WNetError(NO_FRAMEWORK)
        if not isinstance(error, WNetError) and disk.is_full(error):
            error = WNetError(disk.no_space(getattr(error, "filename", None)))
        hint = "" if isinstance(error, WNetError) else f" ({debug} shows where)"
        print(f"{program}: error: {one_line(error)}{hint}", file=sys.stderr)
        return error.exit_code if isinstance(error, WNetError) else 1
