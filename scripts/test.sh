#!/usr/bin/env bash
# Installs into .venv if needed and runs the tests. Arguments go to pytest: bash scripts/test.sh -k wnet
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/install.sh
exec .venv/bin/python -m pytest "$@"
