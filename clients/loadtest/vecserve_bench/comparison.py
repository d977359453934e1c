"""Two records side by side. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias, cast

from vecserve_bench.record import Measurement, Record, load_name

Better: TypeAlias = Literal["higher", "lower"]

CHANGED: Final = 0.05
"""Change of a figure from which on it is worth noticing: smaller ones come and go by themselves."""

_IGNORED: Final = frozenset({"address"})  # of the server; the same one is rarely at the same port
_LATENCIES: Final = (("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p99.9", 99.9))


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both runs."""

    name: str
    unit: str
    before: float | None
    after: float | None
    better: Better

    @property
    def ratio(self) -> float | None:
        """After over before; None where one is missing or the earlier is 0."""
        return self.after / self.before if self.after is not None and self.before else None

    @property
    def improved(self) -> bool | None:
        """Whether it is better than before; None where it is hardly different, or one is missing."""
        if self.ratio is None or abs(self.ratio - 1) < CHANGED:
            return None
        return self.ratio > 1 if self.better == "higher" else self.ratio < 1


@dataclass(frozen=True, slots=True)
class Pair:
    """The same load in both runs."""

    before: Measurement
    after: Measurement
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting, or something of the server or machine, that is not the same in both."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed between two records."""

    pairs: Sequence[Pair]
    """Loads that both have, in the later one's order; those of a search are left out."""
    max_rate: Row | None
    """What searches found, where both are searches."""
    differences: Sequence[Difference]


def compare(before: Record, after: Record) -> Comparison:
    """Return two records side by side.

    Measurements belong together when their loads are the same; one of each always do.
    """
    return Comparison(
        pairs=[] if before.search or after.search else list(_pairs(before.measurements, after.measurements)),
        max_rate=_max_rate(before, after),
        differences=list(_differences(before, after)),
    )


def pair_name(pair: Pair) -> str:
    """Return what a pair's load is called, or both where they differ."""
    before, after = load_name(pair.before), load_name(pair.after)
    return after if before == after else f"{before} before, {after} after"


def _pairs(before: Sequence[Measurement], after: Sequence[Measurement]) -> Iterator[Pair]:
    if len(before) == len(after) == 1:
        yield Pair(before[0], after[0], list(_rows(before[0], after[0])))
        return
    earlier = {load_name(measurement): measurement for measurement in before}
    for measurement in after:
        if same := earlier.get(load_name(measurement)):
            yield Pair(same, measurement, list(_rows(same, measurement)))


def _rows(before: Measurement, after: Measurement) -> Iterator[Row]:
    yield Row("throughput", "calls/s", before.throughput_per_s, after.throughput_per_s, "higher")
    yield Row("errors", "%", 100 * before.error_share, 100 * after.error_share, "lower")
    for name, _ in _LATENCIES:
        yield Row(name, "ms", _latency(before, name), _latency(after, name), "lower")
    yield Row("max", "ms", _latency(before, "max"), _latency(after, "max"), "lower")
    stages = {**_stages(before), **_stages(after)}
    for stage in stages:
        yield Row(f"server: {stage}", "ms", _stages(before).get(stage), _stages(after).get(stage), "lower")


def _latency(measurement: Measurement, name: str) -> float | None:
    found = measurement.latency_ms.get("OK")
    return None if found is None else getattr(found, name.replace(".", "_"))


def _stages(measurement: Measurement) -> dict[str, float]:
    return {} if measurement.server is None else measurement.server.stages_ms


def _max_rate(before: Record, after: Record) -> Row | None:
    if not (before.search and after.search):
        return None
    return Row("highest rate", "calls/s", before.search.max_rate_per_s, after.search.max_rate_per_s, "higher")


def _differences(before: Record, after: Record) -> Iterator[Difference]:
    for name, one, other in (
        *_changed(before.settings, after.settings),
        *_changed(
            {"objective": before.objective, "content": before.work},
            {"objective": after.objective, "content": after.work},
        ),
        *(
            (f"server: {name}", one, other)
            for name, one, other in _changed(asdict(before.server), asdict(after.server))
        ),
        *(
            (f"client: {name}", one, other)
            for name, one, other in _changed(asdict(before.client), asdict(after.client))
        ),
    ):
        yield Difference(name, one, other)


def _changed(before: dict[str, object], after: dict[str, object]) -> Iterator[tuple[str, str, str]]:
    for name in {**before, **after}:
        if name not in _IGNORED and before.get(name) != after.get(name):
            yield name, _shown(before.get(name)), _shown(after.get(name))


def _shown(value: object) -> str:
    if value is None or value in ("", []):
        return "-"
    return ", ".join(map(str, cast("list[object]", value))) if isinstance(value, list) else str(value)
