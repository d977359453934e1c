"""One load under way: sends calls when they are due, and books how they end."""

import math
from collections import deque
from collections.abc import Callable
from itertools import cycle

import numpy as np

from vecserve_loadtest.calls import Call, Ending
from vecserve_loadtest.ledger import Ledger
from vecserve_loadtest.link import Link
from vecserve_loadtest.outbox import Body
from vecserve_loadtest.outcome import status_of
from vecserve_loadtest.pacing import Window, pacer
from vecserve_loadtest.plan import Load, OpenLoop
from vecserve_loadtest.pool import Pool
from vecserve_loadtest.result import LoadResult
from vecserve_loadtest.status import Status


class Driver:
    """Drives one load of a plan.

    Args:
        load: What to send, and how fast.
        pool: The load's connections, open.
        window: Of this load alone: its stop comes earlier when the load has had its number of calls.
        clock: Source of the time, in seconds.

    Attributes:
        ledger: What happened so far.
        window: When to send, and what is measured.
    """

    def __init__(self, load: Load, pool: Pool, window: Window, clock: Callable[[], float]) -> None:
        self.ledger = Ledger(load, window)
        self._load = load
        self.window = window
        self._pool = pool
        self._pacer = pacer(load.loop, window, load.calls)
        self._clock = clock
        self._deadline = math.inf if load.workload.deadline is None else load.workload.deadline
        # A closed loop waits for a connection: failing at once, it would do nothing but fail.
        self._fails_fast = isinstance(load.loop, OpenLoop)
        self._messages = cycle(enumerate([Body(message) for message in load.workload.messages]))
        self._expiring: deque[Call] = deque()
        self._again: deque[Call] = deque()

    def step(self, now: float) -> None:
        """Book what has ended, and send what is due."""
        self._pool.tend(now)
        self._book()
        self._expire(now)
        while self._again and (link := self._pool.pick()):
            self._resend(link, self._again.popleft())
        while (intended := self._pacer.due(now, self.ledger.in_flight)) is not None:
            if now >= intended + self._deadline:
                self._give_up(now, Status.DEADLINE_EXCEEDED)
            elif link := self._pool.pick():
                self._send(link, now)
            elif self._fails_fast and self._pool.down:
                self._give_up(now, Status.UNAVAILABLE)
            else:
                self._pacer.hold(now)
                break
            now = self._clock()
        self._pool.flush()

    def wake(self, now: float) -> float:
        """Return when to step next unless a connection stirs before; infinity where nothing is due by itself."""
        expiry = self._expiring[0].expires if self._expiring else math.inf
        return min(self._pacer.wake(now), self._pool.wake, expiry)

    def finished(self, now: float) -> bool:
        """Return whether all calls were sent and have ended."""
        return not self.ledger.in_flight and self._pacer.finished(now)

    def stop(self, now: float) -> None:
        """Give up what is under way or due, and close the connections."""
        self._book()
        for call in (*self._pool.close(), *self._again):
            self._end(call, now, Status.CANCELLED, Ending.ABANDONED)
        while self._pacer.due(now, self.ledger.in_flight) is not None:
            self._give_up(now, Status.CANCELLED)

    def result(self) -> LoadResult:
        """Return what was measured, once it is stopped."""
        loop = self._load.loop
        ledger = self.ledger
        return LoadResult(
            name=self._load.name,
            duration=self.window.stop - self.window.start,
            calls=ledger.calls(),
            totals=ledger.totals(),
            ok_in_window=ledger.ok_in_window,
            carried=np.array(ledger.carried, np.float64),
            max_in_flight=ledger.max_in_flight,
            held=self._pacer.held,
            late_after=loop.late_after if isinstance(loop, OpenLoop) else 0.0,
            connections=self._pool.counts,
            failures=ledger.failures,
            responses=ledger.responses,
            server_timings=ledger.server_timings,
        )

    def _book(self) -> None:
        for calls, now, answered in self._pool.take_ended():
            for call in calls:
                if not answered:
                    self._end(call, now, Status.UNAVAILABLE, Ending.DISCONNECTED)
                elif call.unprocessed and not call.resent:
                    call.renew()
                    self._again.append(call)
                else:
                    self._end(call, now, status_of(call, expired=now >= call.expires), Ending.ANSWERED)

    def _send(self, link: Link, now: float) -> None:
        index, body = next(self._messages)
        call = Call(body, index, self._pacer.take())
        if self.ledger.keeping:
            call.parts = []
        call.sent = now
        call.connection = link.connection
        link.connection.send(call)
        self.ledger.opened(now)
        if self._deadline != math.inf:
            call.expires = now + self._deadline
            self._expiring.append(call)

    def _resend(self, link: Link, call: Call) -> None:
        call.connection = link.connection
        link.connection.send(call)
        self.ledger.reopened()

    def _expire(self, now: float) -> None:
        while self._expiring and (self._expiring[0].ended or self._expiring[0].expires <= now):
            call = self._expiring.popleft()
            if call.ended:
                continue
            if call.connection is not None:
                call.connection.cancel(call)
            else:
                self._again.remove(call)
            self._end(call, now, Status.DEADLINE_EXCEEDED, Ending.EXPIRED)

    def _give_up(self, now: float, status: Status) -> None:
        index, body = next(self._messages)
        self._end(Call(body, index, self._pacer.take()), now, status, Ending.UNSENT)

    def _end(self, call: Call, now: float, status: Status, ending: Ending) -> None:
        call.ended = True
        call.connection = None
        self.ledger.closed(call, now, status, ending)
