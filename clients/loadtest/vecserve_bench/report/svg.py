"""Plots as SVG, inside an HTML page whose style sheet has their colours. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, Literal, TypeAlias

from vecserve_bench.report.scales import Scale

WIDTH: Final = 760
HEIGHT: Final = 340

_LEFT, _RIGHT, _BOTTOM = 68, 20, 52
_LEGEND_TOP, _LEGEND_ROW, _LEGEND_GAP = 14, 20, 12
_KEY, _KEY_GAP = 24, 20  # widths of a legend's sample of a line, and of the space between two names
CHARACTER: Final = 6.9
"""Width of one in a plot's names, in pixels, roughly."""
_LABEL_GAP = 46  # least distance of two labels below the horizontal axis

Mark: TypeAlias = Literal["line", "dots", "both", "area"]


@dataclass(frozen=True, slots=True)
class Point:
    """Where a series is, in its axes' units."""

    x: float
    y: float | None
    """None leaves a gap."""
    tip: str = ""
    """What the point says when it is pointed at."""
    hollow: bool = False
    label: str = ""
    """Shown beside the point, which is marked for it."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or points, of a plot."""

    name: str
    colour: str
    """A class of the style sheet, e.g. `c1`."""
    points: Sequence[Point]
    mark: Mark = "line"
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across the plot, at a value of one axis."""

    name: str
    value: float
    axis: Literal["x", "y"] = "y"
    colour: str = "rule"


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, with its unit."""

    label: str
    scale: Scale


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of one or more series over one pair of axes."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    rules: Sequence[Rule] = field(default_factory=tuple[Rule, ...])
    height: int = HEIGHT

    def svg(self) -> str:
        """Return the plot as a figure that grows and shrinks with the page."""
        return figure(self.title, [*self._grid(), *self._rules(), *self._marks(), *self._legend()], self.height)

    @property
    def _top(self) -> float:
        rows = max((row for row, _, _ in self._legend_places()), default=-1) + 1
        return _LEGEND_TOP + rows * _LEGEND_ROW + (_LEGEND_GAP if rows else 0)

    def _legend_places(self) -> Iterator[tuple[int, float, Series]]:
        """Yield the row and the beginning of each name, in as many rows as it takes."""
        row, x = 0, float(_LEFT)
        for series in self.series:
            if not series.name:
                continue
            width = _KEY + len(series.name) * CHARACTER
            if x + width > WIDTH - _RIGHT and x > _LEFT:
                row, x = row + 1, float(_LEFT)
            yield row, x, series
            x += width + _KEY_GAP

    def _x(self, place: float) -> float:
        return _LEFT + place * (WIDTH - _LEFT - _RIGHT)

    def _y(self, place: float) -> float:
        return self.height - _BOTTOM - place * (self.height - self._top - _BOTTOM)

    def _grid(self) -> Iterator[str]:
        bottom, top, left, right = self._y(0), self._y(1), self._x(0), self._x(1)
        for place, label in self.y.scale.ticks:
            y = self._y(place)
            yield line(left, y, right, y, "grid" if label else "grid minor")
            if label:
                yield text(left - 8, y + 4, label, "tick end")
        last = -_LABEL_GAP
        for place, label in reversed(self.x.scale.ticks):
            x = self._x(place)
            yield line(x, bottom, x, top, "grid" if label else "grid minor")
            if label and abs(last - x) >= min(_LABEL_GAP, 14 + len(label) * CHARACTER):
                yield text(x, bottom + 18, label, "tick middle")
                last = x
        yield line(left, bottom, right, bottom, "axis")
        yield text((left + right) / 2, self.height - 10, self.x.label, "label middle")
        middle = (top + bottom) / 2
        turned = f"translate(16 {middle:.1f}) rotate(-90)"
        yield f'<text class="label middle" transform="{turned}">{escape(self.y.label)}</text>'

    def _rules(self) -> Iterator[str]:
        for rule in self.rules:
            if rule.axis == "y":
                y = self._y(self.y.scale.place(rule.value))
                yield line(self._x(0), y, self._x(1), y, rule.colour)
                yield text(self._x(0) + 6, y - 5, rule.name, f"{rule.colour}-name")
            else:
                x = self._x(self.x.scale.place(rule.value))
                yield line(x, self._y(0), x, self._y(1), rule.colour)
                # On the side that has more room.
                side = "end" if x > WIDTH / 2 else ""
                yield text(x + (-6 if side else 6), self._y(1) + 14, rule.name, f"{rule.colour}-name {side}")

    def _marks(self) -> Iterator[str]:
        for series in self.series:
            if series.mark != "dots":
                yield from self._paths(series)
            for point in series.points:
                yield from self._dot(series, point)

    def _paths(self, series: Series) -> Iterator[str]:
        dashed = " dashed" if series.dashed else ""
        for run in _runs(series.points):
            places = [self._place(point) for point in run]
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            if series.mark == "area":
                base = f"L{places[-1][0]:.1f} {self._y(0)}L{places[0][0]:.1f} {self._y(0)}Z"
                yield f'<path class="area {series.colour}" d="{path}{base}"/>'
            yield f'<path class="line {series.colour}{dashed}" d="{path}"/>'

    def _dot(self, series: Series, point: Point) -> Iterator[str]:
        if point.y is None:
            return
        x, y = self._place(point)
        if series.mark in ("dots", "both"):
            hollow = " hollow" if point.hollow else ""
            yield f'<circle class="dot {series.colour}{hollow}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        if point.label:
            yield f'<circle class="dot {series.colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
            fits = x - 7 - len(point.label) * CHARACTER > _LEFT
            yield text(x - 7, y - 8, point.label, "value end") if fits else text(x + 8, y + 15, point.label, "value")
        if point.tip:
            yield f'<circle class="tip" cx="{x:.1f}" cy="{y:.1f}" r="8"><title>{escape(point.tip)}</title></circle>'

    def _place(self, point: Point) -> tuple[float, float]:
        assert point.y is not None
        return self._x(self.x.scale.place(point.x)), self._y(self.y.scale.place(point.y))

    def _legend(self) -> Iterator[str]:
        for row, x, series in self._legend_places():
            y = _LEGEND_TOP + row * _LEGEND_ROW
            if series.mark == "dots":
                hollow = " hollow" if all(point.hollow for point in series.points) else ""
                yield f'<circle class="dot {series.colour}{hollow}" cx="{x + 9:.1f}" cy="{y - 4}" r="4"/>'
            else:
                dashed = " dashed" if series.dashed else ""
                yield f'<path class="line {series.colour}{dashed}" d="M{x:.1f} {y - 4}h18"/>'
            yield text(x + _KEY, y, series.name, "name")


def figure(title: str, parts: Sequence[str], height: int) -> str:
    """Return a drawing under its title, which grows and shrinks with the page."""
    named = escape(title)
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{named}"'
    return f'<figure><figcaption>{named}</figcaption><svg class="plot" {box}>{"".join(parts)}</svg></figure>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """Return a straight line."""
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, content: str, style: str) -> str:
    """Return a line of text."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'


def _runs(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Yield the parts of a line between its gaps."""
    run: list[Point] = []
    for point in points:
        if point.y is not None:
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run
