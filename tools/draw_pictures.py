"""Draw the pictures of the documentation, docs/pictures/*.svg.

python tools/draw_pictures.py            # draws them
python tools/draw_pictures.py --check    # fails if one is out of date
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pictures import before_after, packed_batch

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
PICTURES = {"packed-batch": packed_batch.draw, "before-after": before_after.draw}


def main() -> None:
    """Draw or check the pictures."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a picture is out of date")
    check = parser.parse_args().check
    for name, draw in PICTURES.items():
        file = FOLDER / f"{name}.svg"
        if not check:
            file.write_text(draw(), encoding="utf-8")
        elif file.read_text(encoding="utf-8") != draw():
            raise SystemExit(f"docs/pictures/{name}.svg is out of date: python tools/draw_pictures.py")


if __name__ == "__main__":
    main()
