#!/usr/bin/env bash
# Trains one network of the model zoo by the shared recipe: bash scripts/zoo/train_zoo.sh WNetLite 8 --minutes 60
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash scripts/install.sh
exec .venv/bin/python scripts/zoo/train_zoo.py "$@"
