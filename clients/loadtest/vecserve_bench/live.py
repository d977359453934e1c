"""What happens while a load runs, for whoever waits. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vecserve_loadtest import Progress, bucket_percentile, merge_buckets


@dataclass(frozen=True, slots=True)
class Glance:
    """Where a load stands, all its processes together."""

    elapsed: float
    """Seconds since the measured window's start; negative in the warm-up."""
    ok_per_s: float
    """Since the glance before."""
    failed: int
    in_flight: int
    p50: float
    """Seconds, of the calls measured since the glance before; NaN where there was none."""
    p99: float


@dataclass(slots=True)
class Watch:
    """Puts the reports of several processes together."""

    _latest: dict[int, Progress] = field(default_factory=dict[int, Progress])
    _before: Glance | None = None
    _ok: int = 0

    def take(self, reports: Sequence[Sequence[Sequence[Progress]]]) -> Glance | None:
        """Return where the load stands after the reports of each process, whose plans have one load; None: no news."""
        news = [loads[0] for of_process in reports for loads in of_process]
        for index, of_process in enumerate(reports):
            if of_process:
                self._latest[index] = of_process[-1][0]
        if not news or len(self._latest) < len(reports):
            return None
        glance = self._glance(news)
        self._before, self._ok = glance, sum(each.ok for each in self._latest.values())
        return glance

    def _glance(self, news: Sequence[Progress]) -> Glance:
        latest = self._latest.values()
        elapsed = max(each.elapsed for each in latest)
        ok = sum(each.ok for each in latest)
        since = elapsed - self._before.elapsed if self._before else 0.0
        buckets = merge_buckets(each.latencies for each in news)
        return Glance(
            elapsed=elapsed,
            ok_per_s=(ok - self._ok) / since if since > 0 else 0.0,
            failed=sum(each.ended - each.ok for each in latest),
            in_flight=sum(each.in_flight for each in latest),
            p50=bucket_percentile(buckets, 50),
            p99=bucket_percentile(buckets, 99),
        )
