"""What is measured in each round, the server always beside the limit."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.harness import harness
from benchmarks.measuring import Bench, Figure, units_per_second
from benchmarks.workloads import SENTENCE_TOKENS, Workload, mixed_texts, photographs, sentences
from vecserve_loadtest import LoadResult, Status

_BATCH = 32
_SORTED_BATCH_TOKENS = 512
_CALLS_ALONE = {1: 200, _BATCH: 30}
_DEADLINE = 0.25
_OVERLOAD = 3.0
_INTERACTIVE_RATE = 15.0
# Images are few: in 3 s about 120, which end by four or by two, so that a single batch makes 3 %.
_LONGER = 3


def short_texts(bench: Bench) -> Iterator[Figure]:
    """One short text a call."""
    text = sentences(bench.text_model)
    for in_flight in (1, 8):
        yield from _closed(_load(bench, text, in_flight), in_flight)
    limit, result = bench.beside(
        lambda: bench.inprocess.throughput(text, _BATCH, bench.threads, bench.seconds / 2) / SENTENCE_TOKENS,
        partial(bench.closed, text, 64),
    )
    load = result.loads[0]
    yield Figure("in-process, batches of 32", limit, "texts/s")
    yield from _closed(load, 64)
    yield Figure("64 in flight / in-process", load.throughput / limit, goal=bench.unary_goal)
    yield Figure("load generator", result.process.per_call * 1e6, "µs CPU a call")
    yield from _overload(bench, text, load)


def texts_alone(bench: Bench) -> Iterator[Figure]:
    """One call at a time, of 1 and of 32 texts, against the same call in-process: on one thread, and on all."""
    for count, calls in _CALLS_ALONE.items():
        texts = sentences(bench.text_model, count)
        limit, load = bench.beside(partial(bench.inprocess.latency, texts, calls // 2), partial(_load, bench, texts, 1))
        alone = _median(load.latencies())
        spread = bench.inprocess.latency(texts, calls, alone=True)
        yield Figure(f"{count} a call, in-process", limit * 1e3, "ms")
        yield Figure(f"{count} a call, alone", alone * 1e3, "ms")
        yield Figure(f"{count} a call, alone - in-process", (alone - limit) * 1e3, "ms", goal="≤ 0.6")
        yield Figure(f"{count} a call, in-process on all threads", spread * 1e3, "ms")
        yield Figure(f"{count} a call, alone - in-process on all threads", (alone - spread) * 1e3, "ms")


def batches(bench: Bench) -> Iterator[Figure]:
    """32 short texts a call, two calls in flight."""
    texts = sentences(bench.text_model, _BATCH)
    limit, load = bench.beside(
        lambda: bench.inprocess.throughput(texts, _BATCH, bench.threads, bench.seconds / 2),
        partial(_load, bench, texts, 2),
    )
    yield Figure("in-process, batches of 32", limit / SENTENCE_TOKENS, "texts/s")
    yield Figure("32 a call, 2 in flight", load.throughput * _BATCH, "texts/s")
    yield Figure("32 a call, 2 in flight / in-process", units_per_second(texts, load) / limit, goal="≥ 0.97")


def mixed_lengths(bench: Bench) -> Iterator[Figure]:
    """One text a call, of 4 to 256 tokens, log-normal; then three times as many as 64 in flight, with a deadline.

    The more there are in flight, the more there are of about a length.
    """
    texts = mixed_texts(bench.text_model)
    for in_flight in (256, 64):
        before = _counts(bench)
        limit, load = bench.beside(
            lambda: bench.inprocess.sorted_throughput(texts, _SORTED_BATCH_TOKENS, bench.threads, bench.seconds / 2),
            partial(_load, bench, texts, in_flight),
        )
        reached = units_per_second(texts, load)
        units, padding = (after - begun for after, begun in zip(_counts(bench), before, strict=True))
        yield Figure(f"{in_flight} in flight", reached, "tokens/s")
        yield Figure(f"{in_flight} in flight, in-process sorted by length", limit, "tokens/s")
        yield Figure(f"{in_flight} in flight / in-process sorted", reached / limit, goal="≥ 0.90")
        yield Figure(f"{in_flight} in flight, padding", 100 * padding / (units + padding), "% of tokens", goal="≤ 5")
    yield from _overload(bench, texts, load)


def _closed(load: LoadResult, in_flight: int) -> Iterator[Figure]:
    yield Figure(f"{in_flight} in flight", load.throughput, "calls/s")
    yield Figure(f"{in_flight} in flight, median latency", _median(load.latencies()) * 1e3, "ms")


def _load(bench: Bench, workload: Workload, in_flight: int, seconds: float | None = None) -> LoadResult:
    return bench.closed(workload, in_flight, seconds).loads[0]


def _overload(bench: Bench, texts: Workload, before: LoadResult) -> Iterator[Figure]:
    """Three times as many calls as 64 in flight made before; capacity is what these and 64 in flight make after."""
    late = bench.count("late_items", bench.text_model)
    result = bench.overload(texts, _OVERLOAD * before.throughput, _DEADLINE)
    late = bench.count("late_items", bench.text_model) - late
    capacity = (before, _load(bench, texts, 64))
    load = result.loads[0]
    admitted = load.latencies()[load.calls.status != Status.UNAVAILABLE]
    calls = load.throughput / statistics.mean(each.throughput for each in capacity)
    goodput = units_per_second(texts, load) / statistics.mean(units_per_second(texts, each) for each in capacity)
    yield Figure("overload: goodput / capacity, calls", calls, goal="≥ 0.95")
    yield Figure("overload: goodput / capacity, tokens", goodput, goal="≥ 0.95")
    yield Figure("overload: texts computed after their deadline", late, goal="0")
    yield Figure("overload: refusals, median", _median(load.latencies(Status.UNAVAILABLE)) * 1e3, "ms", goal="≤ 20")
    yield Figure("overload: admitted, p99", float(np.percentile(admitted, 99)) * 1e3, "ms", goal="≤ 250")
    yield Figure(
        "overload: refused", 100 * len(load.latencies(Status.UNAVAILABLE)) / len(load.calls.status), "% of calls"
    )
    yield Figure("overload: sent late by more than 5 ms", load.late_sends, "calls")
    yield Figure("overload: load generator", 100 * result.process.core_share, "% of a core")


def priorities(bench: Bench) -> Iterator[Figure]:
    """Interactive calls of one short text at random times, alone and beside bulk calls of 32 mixed texts."""
    text, bulk = sentences(bench.text_model), mixed_texts(bench.text_model, per_call=_BATCH)
    alone = bench.interactive(text, _INTERACTIVE_RATE).latencies()
    beside = bench.interactive(text, _INTERACTIVE_RATE, bulk=bulk, in_flight=4).latencies()
    p99 = [float(np.percentile(latencies, 99)) for latencies in (alone, beside)]
    yield Figure("interactive alone, p99", p99[0] * 1e3, "ms")
    yield Figure("interactive beside bulk, p99", p99[1] * 1e3, "ms")
    yield Figure("interactive, p99 beside bulk / alone", p99[1] / p99[0], goal="≤ 3")


def images(bench: Bench) -> Iterator[Figure]:
    """One photograph a call; decoding counts on both sides."""
    photos, seconds = photographs(), _LONGER * bench.seconds
    few = _load(bench, photos, 8, seconds).throughput
    limit, many = bench.beside(
        lambda: bench.inprocess.throughput(photos, 4, bench.threads, seconds / 2),
        lambda: _load(bench, photos, 64, seconds).throughput,
    )
    yield Figure("in-process, decoding included", limit, "images/s")
    yield Figure("8 in flight", few, "calls/s")
    yield Figure("8 in flight / in-process", few / limit)
    yield Figure("64 in flight", many, "calls/s")
    yield Figure("64 in flight / in-process", many / limit, goal="≥ 0.95")


SCENARIOS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "short texts": short_texts,
    "alone": texts_alone,
    "batches": batches,
    "mixed lengths": mixed_lengths,
    "priorities": priorities,
    "images": images,
    "harness": harness,
}


def _counts(bench: Bench) -> tuple[float, float]:
    return bench.count("batch_units", bench.text_model), bench.count("batch_padding_units", bench.text_model)


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
