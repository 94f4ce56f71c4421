"""Checks every link inside a built site: that its file is there, and its anchor in it. Ends with 1 and the list of broken ones.

python scripts/docs/check_links.py build/docs/html
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value is not None:
                self.links.append(value)


read = cache(Page)


def broken(site: Path) -> list[str]:
    """Links that lead nowhere, as ``PAGE: LINK``; those to other sites are not followed."""
    found = []
    for path in sorted(site.rglob("*.html")):
        for link in read(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            anchor = unquote(parts.fragment)
            missing = not target.is_file()
            if missing or (anchor and target.suffix == ".html" and anchor not in read(target).anchors):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="folder of the built pages")
    site = parser.parse_args().site
    if not (site / "index.html").is_file():
        sys.exit(f"{site} has no index.html: build the pages first (bash scripts/docs.sh)")
    found = broken(site)
    print("\n".join(found) or f"{site}: every link inside of {len(list(site.rglob('*.html')))} pages leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
