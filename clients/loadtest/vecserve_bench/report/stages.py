"""Where the time of calls went, as bars: one for each load. Pure."""

from collections.abc import Iterator, Sequence
from html import escape

from vecserve_bench.figures import number
from vecserve_bench.record import Measurement, ServerSplit, load_name
from vecserve_bench.report.scales import Linear
from vecserve_bench.report.svg import CHARACTER, WIDTH, figure, line, text

_LEFT, _RIGHT, _TOP, _BOTTOM = 130, 70, 40, 48
_ROW, _BAR = 34, 20
_REST = "rest"


def stage_bars(measurements: Sequence[Measurement]) -> str:
    """Return an `svg` element with the means of the server's stages; empty where the server told none."""
    told = [(load_name(each), each.server) for each in measurements if each.server]
    if not told:
        return ""
    names = list(dict.fromkeys(name for _, split in told for name in split.stages_ms))
    colours = {name: f"c{1 + index % 6}" for index, name in enumerate(names)} | {_REST: "c0"}
    scale = Linear.over(max(sum(_parts(split).values()) for _, split in told))
    height = _TOP + _ROW * len(told) + _BOTTOM
    parts = [*_axis(scale, height), *_legend(colours, _parts(told[0][1]) if len(told) == 1 else {})]
    for row, (name, split) in enumerate(told):
        parts += _bar(name, _parts(split), colours, scale, _TOP + row * _ROW)
    return figure("Mean of OK calls, by stage", parts, height)


def _parts(split: ServerSplit) -> dict[str, float]:
    return {**split.stages_ms, _REST: max(0.0, split.rest_ms)}


def _x(scale: Linear, value: float) -> float:
    return _LEFT + scale.place(value) * (WIDTH - _LEFT - _RIGHT)


def _axis(scale: Linear, height: int) -> Iterator[str]:
    bottom = height - _BOTTOM
    for place, label in scale.ticks:
        x = _LEFT + place * (WIDTH - _LEFT - _RIGHT)
        yield line(x, _TOP - 6, x, bottom, "grid")
        yield text(x, bottom + 18, label, "tick middle")
    yield text((_LEFT + WIDTH - _RIGHT) / 2, height - 8, "ms", "label middle")


def _legend(colours: dict[str, str], values: dict[str, float]) -> Iterator[str]:
    x = 20.0
    for stage, colour in colours.items():
        name = f"{stage} {number(values[stage])} ms" if stage in values else stage
        yield f'<rect class="bar {colour}" x="{x:.1f}" y="10" width="12" height="12"/>'
        yield text(x + 18, 20, name, "name")
        x += 18 + len(name) * CHARACTER + 18


def _bar(name: str, parts: dict[str, float], colours: dict[str, str], scale: Linear, top: float) -> Iterator[str]:
    yield text(_LEFT - 10, top + _BAR / 2 + 4, name, "tick end")
    reached = 0.0
    for stage, value in parts.items():
        start, end = _x(scale, reached), _x(scale, reached + value)
        tip = f"{name}: {stage} {number(value)} ms"
        yield (
            f'<rect class="bar {colours[stage]}" x="{start:.1f}" y="{top}" width="{max(0.0, end - start):.1f}" '
            f'height="{_BAR}"><title>{escape(tip)}</title></rect>'
        )
        reached += value
    yield text(_x(scale, reached) + 6, top + _BAR / 2 + 4, f"{number(reached)} ms", "tick")
