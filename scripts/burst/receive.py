"""On the rented machine: joins the parts that were sent, compares checksums, unpacks, installs packages that came along.

    python3 burst/receive.py --to wnet        # in the folder to which the parts in burst/ were copied, in one go or several

Needs Python's standard library alone. Parts that are missing or damaged are named; send them and give the same command again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import parts

#: Packages that travelled lie here, and are imported from `packages`, both beside scripts/.
WHEELS, PACKAGES = "wheels", "packages"


def install(root: Path) -> None:
    """Unpacks the wheels that came along; what the machine has (torch above all) stays what it is."""
    wheels = sorted(map(str, (root / WHEELS).glob("*.whl")))
    if not wheels:
        return
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
    code = subprocess.run([*pip, "--target", str(root / PACKAGES), *wheels]).returncode
    if code:
        raise parts.PartsError(f"pip could not install the packages in {root / WHEELS}; its words are above")
    print(f"{len(wheels)} packages in {root / PACKAGES}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("wnet"), metavar="FOLDER", help="where it all goes (default: wnet)")
    args = parser.parse_args()
    try:
        index = parts.unpack(Path(__file__).resolve().parent, args.to)
        install(args.to)
    except (parts.PartsError, OSError) as error:
        print(f"receive.py: error: {error}", file=sys.stderr)
        return 1
    print(f"{len(index['parts'])} parts received; next: cd {args.to} && python3 scripts/burst/burst.py --minutes 12")
    return 0


if __name__ == "__main__":
    sys.exit(main())
