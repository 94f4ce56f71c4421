#!/usr/bin/env bash
# Checks the code without running it: style, format, layers, types. Needs .venv (bash scripts/install.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/lint-imports --no-cache
.venv/bin/mypy
