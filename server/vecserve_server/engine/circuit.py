"""When a model that fails again and again is taken out, and when it is tried again. Pure: the time is handed in."""

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0


class Circuit:
    """Opens after so many failed runs with none between that succeeded, and closes at the first that does.

    While it is open, nothing is run but a trial at `retry_at`; each that fails doubles the time to the next, from 1 s
    to a minute. Only a run that succeeds while it is closed makes that time short again: trials are small, and may
    succeed where the runs of calls don't.
    """

    def __init__(self, most_failures: int) -> None:
        self._most_failures = most_failures
        self._failures = 0
        self._delay = 0.0
        self.retry_at: float | None = None
        """When to try the model again; None while the circuit is closed."""

    @property
    def is_open(self) -> bool:
        """Whether the model is out."""
        return self.retry_at is not None

    def retry_after(self, now: float) -> float:
        """Seconds until it may be back, for whoever is refused while it is open."""
        return max(_FIRST_SECONDS, (self.retry_at or now) - now)

    def succeeded(self) -> bool:
        """Takes note of a run that succeeded; whether that closed the circuit."""
        self._failures = 0
        if self.retry_at is None:
            self._delay = 0.0
            return False
        self.retry_at = None
        return True

    def failed(self, now: float) -> bool:
        """Takes note of a run that failed; whether a trial is due at a new `retry_at`."""
        self._failures += 1
        if self.retry_at is None and self._failures < self._most_failures:
            return False
        if self.retry_at is not None and now < self.retry_at:
            return False  # it had begun before the circuit opened
        self._delay = min(_LONGEST_SECONDS, max(_FIRST_SECONDS, 2 * self._delay))
        self.retry_at = now + self._delay
        return True
