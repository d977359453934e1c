"""The books of one load: what was sent, how it ended, and what of it is measured. Pure."""

import struct

import numpy as np

from vecserve_loadtest.calls import Call, Ending
from vecserve_loadtest.outcome import describe, message_of, server_timing_of
from vecserve_loadtest.pacing import Window
from vecserve_loadtest.plan import Load, OpenLoop
from vecserve_loadtest.progress import Progress, latency_buckets
from vecserve_loadtest.result import Calls, Totals
from vecserve_loadtest.status import Status

_PREFIX = 5  # gRPC's, before the response's message
_ROW = struct.Struct("=dddqIBB")
_COLUMNS = np.dtype(
    [
        ("intended", "f8"),
        ("sent", "f8"),
        ("completed", "f8"),
        ("received", "i8"),
        ("message", "u4"),
        ("status", "u1"),
        ("ending", "u1"),
    ]
)


class Ledger:
    """Enters calls as they are sent and as they end.

    Attributes:
        keeping: Whether the response of a call that is sent now is to be kept.
        in_flight: Calls that were sent and have not ended.
        max_in_flight: Most of them at once within the window.
        ended_in_window: Calls that were sent and ended within the window.
        ok_in_window: Those of them that were OK.
        failures: The first message of each status but OK.
        responses: Serialized responses that were kept, by their rows.
        ok: Calls that were OK, whenever they ended.
        carried: When OK calls of an open loop ended that were due before the window, and ended in it.
        server_timings: Trailers that were kept, by their rows.
    """

    def __init__(self, load: Load, window: Window) -> None:
        self.keeping = load.keep_responses != "none"
        self.in_flight = 0
        self.max_in_flight = 0
        self.ended_in_window = 0
        self.ok_in_window = 0
        self.ok = 0
        self.carried: list[float] = []
        self.failures: dict[str, str] = {}
        self.responses: dict[int, bytes] = {}
        self.server_timings: dict[int, str] = {}
        self._load = load
        self._window = window
        self._start = window.start
        self._by_intended = isinstance(load.loop, OpenLoop)
        # The pacer of an open loop ends its window.
        self._last_row = load.calls if load.calls is not None and not self._by_intended else -1
        self._timed_row = 0 if load.server_timing_every else -1
        self._reported_row = 0
        self._row = 0
        self._sent = 0
        self._resent = 0
        self._endings = [0] * len(Ending)
        self._rows = bytearray()

    def opened(self, now: float) -> None:
        """Enter a call that was sent."""
        self._sent += 1
        self.in_flight += 1
        if self.in_flight > self.max_in_flight and self._start <= now < self._window.stop:
            self.max_in_flight = self.in_flight

    def reopened(self) -> None:
        """Enter that a call, still in flight, was sent once more."""
        self._resent += 1

    def closed(self, call: Call, now: float, status: Status, ending: Ending) -> None:
        """Enter the end of a call, which was sent unless it is UNSENT."""
        within = self._start <= now < self._window.stop
        if ending is not Ending.UNSENT:
            self.in_flight -= 1
            self.ended_in_window += within
        self._endings[ending] += 1
        if status is Status.OK:
            self.ok += 1
            self.ok_in_window += within
        elif status.name not in self.failures:
            self.failures[status.name] = _explain(call, ending)
        if self._start <= call.intended < self._window.stop if self._by_intended else within:
            self._enter(call, now, status, ending)
        elif within and status is Status.OK:
            self.carried.append(now - self._start)

    def progress(self, now: float) -> Progress:
        """Return where the load stands, with the latencies of the calls measured since this was asked last."""
        rows = np.frombuffer(bytes(self._rows[self._reported_row * _ROW.size :]), _COLUMNS)
        self._reported_row = self._row
        return Progress(
            elapsed=now - self._start,
            ended=sum(self._endings),
            ok=self.ok,
            in_flight=self.in_flight,
            latencies=latency_buckets(rows["completed"] - rows["intended"]),
        )

    def calls(self) -> Calls:
        """Return the measured calls."""
        rows = np.frombuffer(bytes(self._rows), _COLUMNS)
        return Calls(
            intended=rows["intended"] - self._start,
            sent=rows["sent"] - self._start,
            completed=rows["completed"] - self._start,
            status=rows["status"].copy(),
            ending=rows["ending"].copy(),
            message=rows["message"].copy(),
            response_bytes=np.maximum(rows["received"] - _PREFIX, 0),
        )

    def totals(self) -> Totals:
        """Return the numbers of all calls."""
        return Totals(
            sent=self._sent,
            answered=self._endings[Ending.ANSWERED],
            expired=self._endings[Ending.EXPIRED],
            disconnected=self._endings[Ending.DISCONNECTED],
            abandoned=self._endings[Ending.ABANDONED],
            unsent=self._endings[Ending.UNSENT],
            resent=self._resent,
        )

    def _enter(self, call: Call, now: float, status: Status, ending: Ending) -> None:
        if call.parts is not None and status is Status.OK and self.keeping:
            self.responses[self._row] = message_of(call)
            self.keeping = self._load.keep_responses == "all"
        if self._row == self._timed_row:
            self._timed_row += self._load.server_timing_every
            if ending is Ending.ANSWERED and (timing := server_timing_of(call)):
                self.server_timings[self._row] = timing
        self._rows += _ROW.pack(call.intended, call.sent, now, call.received, call.message, status, ending)
        self._row += 1
        if self._row == self._last_row:
            self._window.stop = now


def _explain(call: Call, ending: Ending) -> str:
    match ending:
        case Ending.ANSWERED:
            return describe(call)
        case Ending.EXPIRED:
            return "the deadline passed without an answer"
        case Ending.DISCONNECTED:
            return "the connection was lost"
        case Ending.ABANDONED:
            return "there was no answer by the end of the drain time"
        case Ending.UNSENT:
            return "the call was due and could not be sent"
