"""A chart as one SVG element: the frame, its axis of values, and where a value is drawn. page.css has the colours."""

import math
from collections.abc import Sequence
from html import escape

from ..display import one_line

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 10, 24
# A chart with a larger number, such as MLflow's infinity, would show all other values as one flat line.
_DRAWABLE = 1e300


def is_drawable(value: float) -> bool:
    return abs(value) < _DRAWABLE


def ticks(low: float, high: float) -> list[float]:
    """Return two to five round numbers between *low* and *high*, of which *high* is larger."""
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [number * size for number in range(first, last + 1)]


def span(values: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and the highest value that a chart of *values* shows, with a margin."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    # A smaller range would hold so few floats that the labels of two ticks could be equal.
    least = max(abs(low), abs(high)) * 1e-9 or 1.0
    margin = (high - low) * 0.06 if high - low > least else max(least, abs(high) * 0.1)
    return low - margin, high + margin


class Frame:
    """The frame of a chart whose x goes from *left* to *right*, and whose y shows all of *values*."""

    def __init__(self, left: float, right: float, values: Sequence[float]) -> None:
        self.left, self.right = left, right
        self.low, self.high = span(values)

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left) if self.right > self.left else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM), 1)

    def axis(self) -> list[str]:
        """Return the lines and labels of the values."""
        parts = []
        for value in ticks(self.low, self.high):
            y = self.y(value)
            parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5}" text-anchor="end">{value:.5g}</text>')
        return parts

    def ends(self, what: str) -> list[str]:
        """Return the labels of the first and the last x, called *what*; one label if they are equal."""
        floor = HEIGHT - 8
        if self.right > self.left:
            return [
                f'<text x="{LEFT}" y="{floor}">{what} {self.left}</text>',
                f'<text x="{WIDTH - RIGHT}" y="{floor}" text-anchor="end">{self.right}</text>',
            ]
        return [f'<text x="{self.x(self.left)}" y="{floor}" text-anchor="middle">{what} {self.left}</text>']


def svg(parts: Sequence[str], label: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """Return the element with *parts* in it. *label* is plain text, for readers who see no picture."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(one_line(label, 200))}">'
        f"{''.join(parts)}</svg>"
    )
