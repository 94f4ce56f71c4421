#!/usr/bin/env bash
# Installs into .venv if needed and runs the tests. Arguments go to pytest: bash scripts/test.sh -k wnet_loss
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/install.sh
# The networks of the tests are small: one thread each, and several tests at a time, is quicker than the reverse.
OMP_NUM_THREADS=1 exec .venv/bin/python -m pytest -n auto --maxprocesses 4 "$@"
