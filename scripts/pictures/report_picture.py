"""Takes pictures of a benchmark's report in headless Chromium: its upper half, or one of its parts.

    wnet benchmark --networks Bicubic edsr_x8 sparnet_x8 wnet_lite_x8 wnet_x8 --sets datasets/celeba_val --limit 150 \\
        --protocols dic rgb --metrics all --baseline SPARNet -o bench
    python scripts/pictures/report_picture.py bench -o docs/pictures/report.png
    python scripts/pictures/report_picture.py bench --part identity -o docs/pictures/figure6.png

`--part faces` alone shows faces; a picture for docs/ shows public-domain photos only.

Needs the package `playwright`, and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from PIL import Image

from wnet_arch import disk

#: Width of the window.
WIDTH = 1100
#: Parts by their names in the page, beside the upper half.
PARTS = ("identity", "cost", "differences", "faces")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, help="folder of the benchmark")
    parser.add_argument("--part", choices=PARTS, help="this alone (default: everything above the faces)")
    parser.add_argument("--scale", type=int, help="4 or 8, if the benchmark has both (default: what the page shows first)")
    parser.add_argument("--view", default="image", help="of --part faces: image (default), landmarks, parsing, estimated or error")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/pictures/report.png"))
    args = parser.parse_args()
    report = args.bench / "report.html"
    if not report.is_file():
        sys.exit(f"{args.bench} has no report.html: `wnet benchmark -o {args.bench}` writes it")
    take(report.resolve(), args.out, args.part, args.scale, args.view)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


def take(report: Path, out: Path, part: str | None = None, scale: int | None = None, view: str = "image") -> None:
    """Keeps a part of the page, or what is above the faces."""
    from playwright.sync_api import sync_playwright

    with disk.replacing(out) as file, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": 900}, reduced_motion="reduce")
        tab.goto(report.as_uri(), timeout=120_000)
        tab.wait_for_selector("html[data-ready]", timeout=120_000)
        if scale:
            choose_scale(tab, scale)
        if part:
            take_part(tab, part, view, file)
        else:
            end = tab.locator("#faces").evaluate("node => node.getBoundingClientRect().top")
            tab.set_viewport_size({"width": WIDTH, "height": round(end)})
            tab.screenshot(path=file)
        browser.close()
        with Image.open(file) as image:
            whole = image.convert("RGB")  # a palette would lose colours of few pixels, as of a chart's points
        whole.save(file, optimize=True)


def choose_scale(tab, scale: int) -> None:
    """Shows the charts and faces of a scale; a page of one set and scale has no buttons to choose."""
    buttons = tab.locator("[data-place-button]")
    texts = [text.strip() for text in buttons.all_text_contents()]
    wanted = next((number for number, text in enumerate(texts) if text.endswith(f" x{scale}")), None)
    if wanted is None:
        sys.exit(f"--scale: the report has {', '.join(texts) or 'one scale alone: leave it out'}")
    buttons.nth(wanted).click()


def take_part(tab, part: str, view: str, file: Path) -> None:
    """The picture of one section; of the faces one face as every network makes it."""
    if not tab.locator(f"#{part}").is_visible():
        sys.exit(f"--part: the report has no section '{part}': the benchmark did not measure it")
    if part == "faces":
        views = tab.locator("#views input").evaluate_all("inputs => inputs.map((input) => input.value)")
        if view not in views:
            sys.exit(f"--view: the faces have {', '.join(views)}, not {view}")
        tab.locator(f"#views input[value={view}]").check()
        count = tab.locator("#panels > *").count()  # no more columns than there are faces, at most as many as the window holds
        tab.add_style_tag(content=f"#panels {{ width: {min(10.75 * count, 64)}rem }}")
    tab.wait_for_timeout(500)  # a chart is drawn anew
    tab.locator("#panels" if part == "faces" else f"#{part}").screenshot(path=file)


if __name__ == "__main__":
    main()
