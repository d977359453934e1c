"""One load, shared out among processes, and their results put together again. Pure."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from vecserve_loadtest.plan import ClosedLoop, Load, OpenLoop
from vecserve_loadtest.result import Calls, ConnectionCounts, LoadResult, Totals


def split_load(load: Load, parts: int) -> list[Load]:
    """Return loads that together are one load.

    Calls in flight, connections and calls are shared out evenly. A rate is divided: Poisson arrivals get seeds of
    their own, and make Poisson arrivals together; constant ones take turns. Each part begins at another message.

    Raises:
        ValueError: If there are fewer connections, calls in flight or calls than parts.
    """
    return [_part(load, part, parts) for part in range(parts)]


def merge_loads(results: Sequence[LoadResult], messages: int = 1) -> LoadResult:
    """Return the result of the whole load from those of its parts, in their order.

    Args:
        results: What `split_load`'s parts measured.
        messages: How many messages the whole load has.
    """
    calls = [_in_place(result.calls, part, len(results), messages) for part, result in enumerate(results)]
    joined = {field.name: np.concatenate([getattr(each, field.name) for each in calls]) for field in fields(Calls)}
    order = np.argsort(joined["completed"], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    starts = np.cumsum([0, *(len(each.status) for each in calls)])
    return LoadResult(
        name=results[0].name,
        duration=max(result.duration for result in results),
        calls=Calls(**{name: column[order] for name, column in joined.items()}),
        totals=Totals(**_sums(Totals, [result.totals for result in results])),
        ok_in_window=sum(result.ok_in_window for result in results),
        carried=np.concatenate([result.carried for result in results]),
        max_in_flight=sum(result.max_in_flight for result in results),
        held=sum(result.held for result in results),
        late_after=results[0].late_after,
        connections=_connections([result.connections for result in results]),
        failures={name: text for result in reversed(results) for name, text in result.failures.items()},
        responses={
            int(place[start + row]): kept
            for start, result in zip(starts, results, strict=False)
            for row, kept in result.responses.items()
        },
        server_timings={
            int(place[start + row]): kept
            for start, result in zip(starts, results, strict=False)
            for row, kept in result.server_timings.items()
        },
    )


def _part(load: Load, part: int, parts: int) -> Load:
    messages = load.workload.messages
    first = _first_message(len(messages), part, parts)
    return replace(
        load,
        workload=replace(load.workload, messages=[*messages[first:], *messages[:first]]),
        loop=_loop(load.loop, part, parts),
        connections=_share("connections", load.connections, part, parts),
        calls=None if load.calls is None else _share("calls", load.calls, part, parts),
    )


def _loop(loop: ClosedLoop | OpenLoop, part: int, parts: int) -> ClosedLoop | OpenLoop:
    if isinstance(loop, ClosedLoop):
        return ClosedLoop(_share("concurrency", loop.concurrency, part, parts))
    return replace(
        loop,
        rate=loop.rate / parts,
        seed=loop.seed * parts + part,
        max_in_flight=_share("max_in_flight", loop.max_in_flight, part, parts),
        phase=loop.phase + part / loop.rate,
    )


def _share(name: str, whole: int, part: int, parts: int) -> int:
    if whole < parts:
        raise ValueError(f"{name} is {whole}, which {parts} processes can't share: it must be at least {parts}")
    return whole // parts + (part < whole % parts)


def _first_message(messages: int, part: int, parts: int) -> int:
    return messages * part // parts


def _in_place(calls: Calls, part: int, parts: int, messages: int) -> Calls:
    first = _first_message(messages, part, parts)
    return replace(calls, message=((calls.message.astype(np.int64) + first) % messages).astype(np.uint32))


def _sums(kind: type[Totals], parts: Sequence[Totals]) -> dict[str, int]:
    return {field.name: sum(getattr(part, field.name) for part in parts) for field in fields(kind)}


def _connections(parts: Sequence[ConnectionCounts]) -> ConnectionCounts:
    return ConnectionCounts(
        opened=sum(part.opened for part in parts),
        lost=sum(part.lost for part in parts),
        refused=sum(part.refused for part in parts),
        error=next((part.error for part in reversed(parts) if part.error), ""),
    )
