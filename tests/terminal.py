"""A terminal for tests: runs a command with standard error on it, and tells what one would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from pathlib import Path

from tests.conftest import PATIENCE

_MOVES = re.compile(r"\x1b\[(\d*)([A-Za-z])")


def run_on_terminal(command: list[str], cwd: Path, columns: int = 300) -> tuple[int, str, str]:
    """Returns exit code, standard output, and everything that was written to the terminal, control characters included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    written = []

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other side is closed
                return
            if not data:
                return
            written.append(data)

    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    out = process.communicate(timeout=PATIENCE)[0]
    reader.join(timeout=30)
    os.close(ours)
    return process.returncode, out, b"".join(written).decode()


def screen(text: str) -> list[str]:
    """Lines that remain on a terminal wide and high enough."""
    lines, row, column, place = [""], 0, 0, 0
    while place < len(text):
        char, move = text[place], _MOVES.match(text, place)
        place = move.end() if move else place + 1
        if move:
            if move[2] == "A":
                row = max(0, row - int(move[1] or 1))
            continue
        if char == "\r":
            column = 0
        elif char == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
