"""What both commands share: errors as one line, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from wnet_arch import disk
from wnet_arch.errors import NO_FRAMEWORK, PeerError, WNetError


def one_line(error: BaseException) -> str:
    """The message of an error on one line; of an error from a loader's worker process, what the worker raised."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].split(": ", 1)[-1]
    text = " ".join(text.split())
    return text if isinstance(error, WNetError) else f"{type(error).__name__}: {text}"


def run_command(program: str, main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Runs a command's main function and turns every error into one line on standard error and an exit code.

    Exit codes: 0 done, 2 wrong arguments or options, 3 nothing to do, 130 interrupted, 1 anything else. With ``--debug``
    among the arguments, or ``WNET_DEBUG`` set, errors keep their traceback.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return main(argv)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, PeerError):
            return error.exit_code
        if "--debug" in argv or os.environ.get("WNET_DEBUG"):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name == "basicsr":
            error = WNetError(NO_FRAMEWORK)
        if not isinstance(error, WNetError) and disk.is_full(error):
            error = WNetError(disk.no_space(getattr(error, "filename", None)))
        hint = "" if isinstance(error, WNetError) else " (--debug shows where)"
        print(f"{program}: error: {one_line(error)}{hint}", file=sys.stderr)
        return error.exit_code if isinstance(error, WNetError) else 1
