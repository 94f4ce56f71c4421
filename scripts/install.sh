#!/usr/bin/env bash
# Makes .venv, or reuses it, and installs this checkout with what the demonstration, the tests and the documentation need.
# PYTHON=/path/to/python3.11 chooses the interpreter. Quick when nothing has changed since the last time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "install: error: $*" >&2; exit 1; }
supported() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

packages=(-e ".[landmarks,report,onnx,demo,test,docs]")
decisive=(pyproject.toml wnet_arch/install_basicsr.py scripts/install.sh)
if [ -e baselines/pyproject.toml ]; then  # the weights of W-Net's rivals; a source archive comes without
    packages+=(-e ./baselines)
    decisive+=(baselines/pyproject.toml)
fi

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null && supported "$candidate"; then echo "$candidate"; return; fi
        if [ -n "${PYTHON:-}" ]; then break; fi
    done
    local found="missing"
    if command -v "${PYTHON:-python3}" >/dev/null; then found=$("${PYTHON:-python3}" --version 2>&1); fi
    fail "Python 3.10 to 3.13 is needed; ${PYTHON:-python3} is $found. Install one of these and run: PYTHON=python3.12 bash $0"
}

install_all() {
    # BasicSR's setup imports torch and numpy, so they come first, and its build must see them: no isolation.
    .venv/bin/python -m pip install -q torch torchvision numpy cython setuptools wheel &&
        .venv/bin/python wnet_arch/install_basicsr.py -q &&
        .venv/bin/python -m pip install -q --no-build-isolation "${packages[@]}"
}

if [ -x .venv/bin/python ]; then
    supported .venv/bin/python || fail ".venv has $(.venv/bin/python --version); 3.10 to 3.13 is needed: remove .venv and run this again"
else
    python=$(find_python)
    "$python" -m venv .venv || { rm -rf .venv; fail "$python cannot make .venv; on Debian and Ubuntu: apt install python3-venv"; }
fi

wanted=$(cat "${decisive[@]}" | cksum)
if [ "$(cat .venv/installed 2>/dev/null)" = "$wanted" ]; then
    echo "install: .venv is up to date"
    exit 0
fi
echo "install: installing into .venv; the default PyTorch is about 6 GB with its CUDA libraries (PIP_* variables are honoured)"
export PIP_DISABLE_PIP_VERSION_CHECK=1
if ! install_all; then
    command -v cc >/dev/null || fail "a package had to be compiled and there is no C compiler: apt install build-essential, then again"
    fail "pip could not install the packages, see above; run this again to continue"
fi
echo "$wanted" > .venv/installed
echo "install: done"
