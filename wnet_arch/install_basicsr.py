"""Installs BasicSR 1.4.2 where its own setup fails: ``python -m wnet_arch.install_basicsr``, or this file run by its path.

Its ``setup.py`` reads the version by ``exec(...)`` inside a function and then asks ``locals()`` for it. Python 3.13 gives such an
``exec`` a copy of the local names (PEP 667), and the build ends in ``KeyError: '__version__'``. Here pip builds it as it is, while
``exec`` without a namespace writes to the caller's names again, as it did until 3.12. Uses the standard library alone.

torch, numpy, cython, setuptools and wheel must be there: the build imports them. Arguments go to ``pip install``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

REQUIREMENT = "basicsr==1.4.2"
#: What its setup imports, by the name of the module.
NEEDED = ("torch", "numpy", "Cython", "setuptools", "wheel")
#: Python imports a module of this name from PYTHONPATH at its start, in the processes that pip builds with.
SITECUSTOMIZE = """
import builtins
import sys

plain_exec = builtins.exec


def exec_into_caller(code, /, globals=None, locals=None, **options):
    if globals is None:
        caller = sys._getframe(1)
        globals, locals = caller.f_globals, caller.f_locals
    plain_exec(code, globals, locals, **options)


builtins.exec = exec_into_caller
"""


def main(arguments: list[str]) -> int:
    """Runs pip; returns its exit code, or 2 where something is missing that the build imports."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        names = " ".join(name.lower() for name in missing)
        print(f"install_basicsr: error: BasicSR's build imports {names}: run `pip install {names}` first", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "pip", "install", "--no-build-isolation", *arguments, REQUIREMENT]
    if sys.version_info < (3, 13):
        return subprocess.run(command, check=False).returncode
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
        paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
