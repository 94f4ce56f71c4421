#!/usr/bin/env bash
# Builds the documentation in build/docs/html, warnings being errors, and checks its links. Needs .venv (bash scripts/install.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf build/docs
.venv/bin/python scripts/docs/gather.py build/docs/pages
.venv/bin/python -m sphinx -q -W --keep-going -b html -c docs -d build/docs/doctrees build/docs/pages build/docs/html
.venv/bin/python scripts/docs/check_links.py build/docs/html
