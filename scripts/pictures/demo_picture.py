"""Takes the README's picture of `wnet demo`: the page in headless Chromium with its first example, a NASA photo (public domain).

    python scripts/pictures/demo_picture.py -o docs/pictures/demo.png                                  the network that ships
    python scripts/pictures/demo_picture.py --weights experiments/wnet_lite_x8 -o docs/pictures/demo.png

Needs the extra `demo`, the package `playwright`, and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import threading
from pathlib import Path

from PIL import Image

from wnet_arch.demo import server
from wnet_arch.demo.choices import Choices
from wnet_arch.demo.limits import Limits

#: Width and least height of the window, and the most bytes that the picture may have.
WIDTH, HEIGHT, MOST = 1180, 700, 400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=[])
    parser.add_argument("--network")
    parser.add_argument("--face", type=int, default=1, help="this face is looked at; 0: the whole photo (default: 1)")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/pictures/demo.png"))
    args = parser.parse_args()
    server.check_installed()
    choices = Choices(args.network, [args.weights] if args.weights else [])
    ready, found = threading.Event(), []
    with server.listen(0) as door, server.folder() as place:
        running = server.make_server(choices, Limits(), place, door, lambda url: (found.append(url), ready.set()))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        if not ready.wait(120):
            raise SystemExit("the page did not start")
        take(found[0], args.face, args.out)
        running.should_exit = True
        thread.join(30)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


def take(address: str, face: int, out: Path) -> None:
    """Restores the first example and keeps what the window shows."""
    from playwright.sync_api import sync_playwright

    part = out.with_name(f".{out.name}.part.png")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
        tab.goto(address)
        tab.locator("#examples button").first.click(timeout=60_000)
        tab.locator("#faces button").first.wait_for(timeout=120_000)
        if face:
            tab.locator("#faces button").nth(face - 1).click()
            tab.locator("#seen", has_text="face").wait_for()
        tab.add_style_tag(content="#examples button:nth-child(n+3) { display: none }")  # photos whose licence is not stated
        tab.evaluate("scrollTo(0, 0)")
        tab.mouse.move(0, 0)
        tab.wait_for_function("[...document.images].every((image) => image.complete)")
        tab.wait_for_timeout(1500)
        bottom = tab.locator("#faces .grid-container").bounding_box()
        whole = {"x": 0, "y": 0, "width": WIDTH, "height": bottom["y"] + bottom["height"] + 24}
        tab.screenshot(path=part, full_page=True, clip=whole)
        browser.close()
    with Image.open(part) as picture:
        picture.convert("RGB").save(part, optimize=True)
    if part.stat().st_size > MOST:
        raise SystemExit(f"{part} has {part.stat().st_size:,} bytes; {MOST:,} at most")
    part.replace(out)


if __name__ == "__main__":
    main()
