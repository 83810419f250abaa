"""Charts as numbers: where lines, bars and intervals stand; templates write them as SVG, with tables beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Bar", "Bars", "Line", "Lines", "Range", "Ranges", "bars", "lines", "nice_top", "ranges"]

WIDTH, HEIGHT = 640.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 12.0, 28.0


@dataclass(frozen=True, slots=True)
class Line:
    """A series.

    Attributes:
        name: of it.
        pieces: runs of points "x,y x,y" between gaps.
        dots: x, y, label on the axis, value.
    """

    name: str
    pieces: tuple[str, ...]
    dots: tuple[tuple[float, float, str, float], ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """A line chart.

    Attributes:
        series: one or more.
        ticks: y and value of each horizontal rule.
        labels: x and text of the labels below.
        width: of the drawing.
        height: of the drawing.
        left: where the drawing's field begins.
        right: where it ends.
    """

    series: tuple[Line, ...]
    ticks: tuple[tuple[float, float], ...]
    labels: tuple[tuple[float, str], ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, 0 to 100 wide.

    Attributes:
        name: of it.
        value: what it says.
        share: its length in percent of the longest possible.
    """

    name: str
    value: float
    share: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars below one another.

    Attributes:
        bars: in order.
        top: the value of 100 percent.
    """

    bars: tuple[Bar, ...]
    top: float


@dataclass(frozen=True, slots=True)
class Range:
    """A mean with its interval, as places 0 to 100.

    Attributes:
        name: of it.
        mean: the value.
        low: its lower end.
        high: its upper end.
        at: the mean's place.
        start: the lower end's place.
        end: the upper end's place.
    """

    name: str
    mean: float
    low: float
    high: float
    at: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Ranges:
    """Intervals below one another, on one scale from 0 (or the lowest end below it).

    Attributes:
        ranges: in order.
        low: value at place 0.
        high: value at place 100.
    """

    ranges: tuple[Range, ...]
    low: float
    high: float


def nice_top(value: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is not below a value; 1 for what is next to 0."""
    if not math.isfinite(value) or value < 1e-12:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def lines(series: Mapping[str, Sequence[float | None]], labels: Sequence[str]) -> Lines:
    """A line chart from 0 up.

    Args:
        series: values by name, one for each label; None is a gap.
        labels: of the points.
    """
    known = [value for values in series.values() for value in values if value is not None]
    top = nice_top(max(known, default=0.0))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(labels) - 1)
    xs = [LEFT + step * place for place in range(len(labels))] if len(labels) > 1 else [(LEFT + WIDTH - RIGHT) / 2]

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)

    drawn = []
    for name, values in series.items():
        dots = [(round(x, 1), y(v), label, v) for x, v, label in zip(xs, values, labels, strict=True) if v is not None]
        drawn.append(Line(name, tuple(_pieces(xs, [None if v is None else y(v) for v in values])), tuple(dots)))
    every = max(1, math.ceil(len(labels) / 7))
    shown = [
        (round(x, 1), label) for place, (x, label) in enumerate(zip(xs, labels, strict=False)) if not place % every
    ]
    ticks = tuple((y(top * part / 4), top * part / 4) for part in range(5))
    return Lines(tuple(drawn), ticks, tuple(shown))


def _pieces(xs: Sequence[float], ys: Sequence[float | None]) -> list[str]:
    pieces: list[list[str]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(piece) for piece in pieces if len(piece) > 1]


def bars(values: Mapping[str, float], top: float | None = None) -> Bars:
    """Bars from 0; the longest possible is `top`, or the largest value."""
    most = top if top is not None else max(values.values(), default=0.0)
    most = most if most > 0 else 1.0
    return Bars(tuple(Bar(name, v, round(min(100.0, max(0.0, 100 * v / most)), 2)) for name, v in values.items()), most)


def ranges(found: Mapping[str, tuple[float, float, float]]) -> Ranges:
    """Means with lower and upper ends, on one scale."""
    low = min([0.0, *(ends[1] for ends in found.values())])
    high = max([*(ends[2] for ends in found.values()), low])
    high = nice_top(high) if high > 0 else max(high, low + 1.0)

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    drawn = [Range(name, m, lo, hi, place(m), place(lo), place(hi)) for name, (m, lo, hi) in found.items()]
    return Ranges(tuple(drawn), low, high)
