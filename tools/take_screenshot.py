"""Take the screenshot of the playground in the documentation, with the demo checkpoint and a headless Chromium.

python tools/take_screenshot.py
"""

from __future__ import annotations

from pathlib import Path

from tests.serve.browser import chromium
from tests.serve.test_server import Process

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "playground.png"
WIDTH = 960


def main() -> None:
    """Write the picture."""
    process = Process("--model", "demo").wait_until_ready()
    try:
        with chromium() as page:
            page.open(f"{process.url}/", WIDTH)
            page.wait("document.getElementById('server').textContent.includes('ready')")
            page.run("document.getElementById('example').click()")
            page.run("document.getElementById('rank').click()")
            page.wait("document.querySelectorAll('.column').length === 2")
            PICTURE.write_bytes(page.picture())
    finally:
        process.stop()


if __name__ == "__main__":
    main()
