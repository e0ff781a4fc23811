"""SVG files of boxes, curves and words, readable on light and dark pages and on a phone."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

WIDTH = 600
"""Width of every picture. Letters are 15 units high, so they are readable on a phone's screen."""

_STYLE = """\
text { font: 15px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #24262b }
.quiet { fill: #5f6570 }
.strong { font-weight: 600 }
.big { font-size: 26px; font-weight: 700 }
.template { fill: #5b3fd6 } .text { fill: #4aa38c } .ask { fill: #e08e45 }
.padding { fill: url(#hatch) } .hatch { stroke: #b3b8c2 }
.rise { stroke: #5b3fd6; stroke-width: 4 } .other { stroke: #b3b8c2; stroke-width: 2 }
.answer { fill: #5b3fd6; font-weight: 700 }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e6eb }
  .quiet { fill: #a4abb8 }
  .template { fill: #8f7bf0 } .text { fill: #4fb79c } .ask { fill: #e8a061 }
  .hatch { stroke: #6d7482 }
  .rise { stroke: #a794ff } .other { stroke: #6d7482 }
  .answer { fill: #b9abff }
}"""


def picture(title: str, height: float, shapes: Iterable[str]) -> str:
    """Return the file; screen readers read the title."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{_STYLE}\n</style>",
            "<defs>",
            '<pattern id="hatch" width="7" height="7" patternTransform="rotate(45)" patternUnits="userSpaceOnUse">',
            '<line class="hatch" x1="0" y1="0" x2="0" y2="7" stroke-width="2.5"/>',
            "</pattern></defs>",
            *shapes,
            "</svg>\n",
        ]
    )


def box(kind: str, x: float, y: float, width: float, height: float) -> str:
    """Return a rectangle, half a unit narrower than `width`, so that neighbors do not touch."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:g}" width="{width - 0.5:.1f}" height="{height:g}" rx="1.5"/>'


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a curve with horizontal ends."""
    middle = (x1 + x2) / 2
    return f'<path class="{kind}" fill="none" d="M{x1:g} {y1:g} C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"/>'


def words(text: str, x: float, y: float, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text; `y` is its baseline."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
