"""What a run measured. Values only; times and durations are in seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vecserve_loadtest.calls import Ending
from vecserve_loadtest.status import Status

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Calls:
    """The measured calls, in the order in which they ended: every column is `(calls,)`.

    Times count from the window's start. Measured are, of a closed loop, the calls that ended within the window and,
    of an open loop, those that were intended within it, whenever they ended.
    """

    intended: npt.NDArray[np.float64]
    """When each was due; of a closed loop, when it was sent."""
    sent: npt.NDArray[np.float64]
    """When it was sent; NaN where it never was."""
    completed: npt.NDArray[np.float64]
    """When it ended, also where the client ended it."""
    status: npt.NDArray[np.uint8]
    """A `Status`."""
    ending: npt.NDArray[np.uint8]
    """An `Ending`."""
    message: npt.NDArray[np.uint32]
    """Index of its message in the workload."""
    response_bytes: npt.NDArray[np.int64]
    """Size of the serialized response; 0 where none came."""

    @property
    def latency(self) -> npt.NDArray[np.float64]:
        """From when each call was due to when it ended. Where the client gave up, it would have taken longer."""
        return self.completed - self.intended


@dataclass(frozen=True, slots=True)
class Totals:
    """Every call of the run, warm-up and drain included, by how it ended: `sent` is the sum of the next four."""

    sent: int
    answered: int
    expired: int
    disconnected: int
    abandoned: int
    unsent: int
    """Calls of an open loop that were due and not sent."""
    resent: int
    """Calls sent once more, as gRPC's clients do where the server says that it had not begun with them."""

    @property
    def lost(self) -> int:
        """Calls that were sent and that the server didn't answer."""
        return self.sent - self.answered


@dataclass(slots=True)
class ConnectionCounts:
    """What became of a load's connections, over the whole run. Filled in as it happens."""

    opened: int
    """Those over which calls could go."""
    lost: int
    """Those that failed, or that the server closed without notice (GOAWAY)."""
    refused: int
    """Attempts to connect that failed."""
    error: str
    """Why the latest of those was lost or refused; empty where none was."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load measured."""

    name: str
    duration: float
    """Length of the window."""
    calls: Calls
    totals: Totals
    ok_in_window: int
    """Calls that ended OK within the window, whenever they were due."""
    carried: npt.NDArray[np.float64]
    """When those of them ended that are not measured, since they were due before the window; `(calls,)`."""
    max_in_flight: int
    """Most calls under way at once within the window."""
    held: int
    """Calls that were sent, or given up, later than due because of `max_in_flight`, of the server's limit of streams,
    or of connections that were not there. Over the whole run."""
    late_after: float
    """How long after its time a call may be sent without counting as late."""
    connections: ConnectionCounts
    failures: Mapping[str, str]
    """The first message of each status but OK, by the status' name."""
    responses: Mapping[int, bytes]
    """Serialized OK responses that were kept, by their calls' positions in the columns."""
    server_timings: Mapping[int, str]
    """`server-timing` trailers that were kept, by their calls' positions in the columns."""

    @property
    def throughput(self) -> float:
        """OK calls per second of the window."""
        return self.ok_in_window / self.duration

    @property
    def statuses(self) -> dict[str, int]:
        """Numbers of measured calls by the names of their statuses, OK first."""
        counts = np.bincount(self.calls.status, minlength=len(Status))
        return {status.name: int(counts[status]) for status in Status if counts[status]}

    @property
    def endings(self) -> dict[str, int]:
        """Numbers of measured calls by the names of their endings."""
        counts = np.bincount(self.calls.ending, minlength=len(Ending))
        return {ending.name: int(counts[ending]) for ending in Ending if counts[ending]}

    @property
    def late_sends(self) -> int:
        """Measured calls that were sent more than `late_after` after they were due."""
        return int(np.count_nonzero(self.calls.sent - self.calls.intended > self.late_after))

    def latencies(self, status: Status | None = None) -> npt.NDArray[np.float64]:
        """Return the latencies of the measured calls, or of those with a status: `(calls,)`, in the columns' order."""
        latency = self.calls.latency
        return latency if status is None else latency[self.calls.status == status]

    def percentiles(
        self, points: Sequence[float] = PERCENTILES, status: Status | None = None
    ) -> dict[float, float] | None:
        """Return percentiles of `latencies` by their points (0 to 100); None where there is no such call.

        Each is the latency of a call that was measured: there is no interpolation.
        """
        latencies = self.latencies(status)
        if not latencies.size:
            return None
        found = np.percentile(latencies, points, method="inverted_cdf")
        return dict(zip(points, found.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """What the process that made the load took, within the window."""

    user: float
    system: float
    elapsed: float
    calls: int
    """Calls of all loads that were sent and ended in that time."""
    realtime: bool = False
    """Whether it had real-time priority."""

    @property
    def per_call(self) -> float:
        """CPU time per call; NaN where there was none."""
        return (self.user + self.system) / self.calls if self.calls else float("nan")

    @property
    def core_share(self) -> float:
        """Share of one core. Near 1 the load generator is the bottleneck, and the results are its own."""
        return (self.user + self.system) / self.elapsed


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run measured."""

    address: str
    started: float
    """When the window began, in seconds since the epoch."""
    duration: float
    """Length of the window."""
    loads: tuple[LoadResult, ...]
    """In the plan's order."""
    process: ProcessCost

    def load(self, name: str) -> LoadResult:
        """Return the result of a load by its name.

        Raises:
            KeyError: If there is none.
        """
        return {load.name: load for load in self.loads}[name]
