"""Takes the README's picture of a benchmark's report: its upper half in headless Chromium.

    wnet benchmark --networks Bicubic edsr_x8 sparnet_x8 wnet_lite_x8 wnet_x8 --sets datasets/celeba_val --limit 150 \\
        --protocols dic rgb --metrics all --baseline SPARNet -o bench
    python scripts/pictures/report_picture.py bench -o docs/pictures/report.png

Needs the package `playwright`, and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from PIL import Image

from wnet_arch import disk

#: Width of the window, and colours of the picture.
WIDTH, COLOURS = 1100, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, help="folder of the benchmark")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/pictures/report.png"))
    args = parser.parse_args()
    report = args.bench / "report.html"
    if not report.is_file():
        sys.exit(f"{args.bench} has no report.html: `wnet benchmark -o {args.bench}` writes it")
    take(report.resolve(), args.out)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


def take(report: Path, out: Path) -> None:
    """Keeps what is above the faces, in few colours."""
    from playwright.sync_api import sync_playwright

    with disk.replacing(out) as part, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": 900}, reduced_motion="reduce")
        tab.goto(report.as_uri(), timeout=120_000)
        tab.wait_for_selector("html[data-ready]", timeout=120_000)
        end = tab.locator("#faces").evaluate("node => node.getBoundingClientRect().top")
        tab.set_viewport_size({"width": WIDTH, "height": round(end)})
        tab.screenshot(path=part)
        browser.close()
        with Image.open(part) as image:
            few = image.convert("RGB").quantize(COLOURS)
        few.save(part, optimize=True)


if __name__ == "__main__":
    main()
