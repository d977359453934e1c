"""Who starts a run, and watches it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any, Protocol

from vecserve_loadtest.progress import Progress


class Observer(Protocol):
    """What a run asks and tells.

    Attributes:
        every: Seconds between two reports; infinity where nobody takes any.
    """

    every: float

    def begin(self, now: float) -> float:
        """Return when the loads are to begin, on the run's clock, now that every connection is ready."""
        ...

    def report(self, loads: Sequence[Progress]) -> None:
        """Take where each load of the plan stands."""
        ...


class Unobserved:
    """Begins at once, and nobody watches."""

    every = math.inf

    def begin(self, now: float) -> float:
        return now

    def report(self, loads: Sequence[Progress]) -> None:
        pass


class RemoteObserver:
    """An observer in another process, at the other end of two pipes. The line it begins with names the time.

    Args:
        orders: Where its order comes from.
        reports: Where reports go.

    Raises:
        OSError: From its methods, once the other process has gone.
    """

    every = 0.5  # one takes about 0.1 ms, which can delay a call by as much

    def __init__(self, orders: IO[str], reports: IO[str]) -> None:
        self._orders = orders
        self._reports = reports

    def begin(self, now: float) -> float:
        self._tell({"ready": now})
        order = self._orders.readline()
        if not order:
            raise BrokenPipeError("whoever started the load has gone")
        return float(order)

    def report(self, loads: Sequence[Progress]) -> None:
        self._tell({"progress": [asdict(load) for load in loads]})

    def _tell(self, message: dict[str, Any]) -> None:
        self._reports.write(json.dumps(message) + "\n")
        self._reports.flush()


def read_progress(message: dict[str, Any]) -> list[Progress]:
    """Return the loads' progress of a report's message, which JSON has given text for the buckets' numbers."""
    return [_progress(**load) for load in message["progress"]]


def _progress(latencies: dict[str, int], **counts: Any) -> Progress:
    return Progress(**counts, latencies={int(bucket): count for bucket, count in latencies.items()})
