"""The measurements of one command, one after another."""

from collections.abc import Callable, Sequence

from vecserve_bench.bench import Bench
from vecserve_bench.display import Display, step_name
from vecserve_bench.objective import Objective
from vecserve_bench.options import Options
from vecserve_bench.record import Measurement, Search, SearchStep, load_name
from vecserve_bench.search import Trial, search
from vecserve_bench.settings import AtRate, Step
from vecserve_bench.warning import harness_limited

Reporter = Callable[[Measurement, SearchStep | None], None]


class Session:
    """Carries out what the options ask for.

    Args:
        options: What to measure.
        bench: Measures.
        display: Shows how it goes.
        reporter: Called with each measurement as it ends.

    Attributes:
        measurements: Those that have ended.
        search: What the search found, or has found so far; None where nothing is searched.
    """

    def __init__(self, options: Options, bench: Bench, display: Display, reporter: Reporter) -> None:
        self.measurements: list[Measurement] = []
        self.search: Search | None = None
        self._options = options
        self._bench = bench
        self._display = display
        self._reporter = reporter

    def run(self) -> None:
        """Measure every step, or search.

        Raises:
            LoadError: If a load can't be run.
            ValueError: If there is nothing to search: no call was OK.
        """
        if self._options.searches and self._options.objective:
            self._find_max_rate(self._options.objective)
            return
        for step in self._options.steps:
            measurement = self._measure(step, self._options.pressure.duration)
            self._reporter(measurement, None)

    def missed(self) -> Sequence[str]:
        """Return how measurements miss the objective, where one is asked for without a search."""
        objective = self._options.objective
        if objective is None or self._options.searches:
            return []
        return [
            f"at {load_name(measurement)} {reason}"
            for measurement in self.measurements
            for reason in objective.missed(measurement)
        ]

    def _find_max_rate(self, objective: Objective) -> None:
        self.search = Search(
            objective=str(objective),
            precision=self._options.precision,
            max_rate_per_s=None,
            limited_by="server",
            steps=[],
        )
        capacity = self._measure(self._options.steps[0], self._options.pressure.duration)
        self._enter(SearchStep(measurement=0, purpose="capacity", holds=None, reasons=[]))
        found = search(capacity.throughput_per_s, lambda trial: self._try(trial, objective), self._options.precision)
        self._conclude(found)

    def _try(self, trial: Trial, objective: Objective) -> bool:
        seconds = objective.seconds(trial.rate, self._options.pressure.duration) * trial.length
        measurement = self._measure(AtRate(trial.rate), seconds)
        reasons = objective.missed(measurement)
        if harness_limited(measurement):
            reasons = [*reasons, "the harness could not keep to the rate"]
        self._enter(
            SearchStep(
                measurement=len(self.measurements) - 1, purpose=trial.purpose, holds=not reasons, reasons=reasons
            )
        )
        return not reasons

    def _measure(self, step: Step, duration: float) -> Measurement:
        with self._display.step(step_name(step), self._options.pressure.warmup, duration) as line:
            measurement = self._bench.measure(step, line.show, duration)
        self.measurements.append(measurement)
        return measurement

    def _enter(self, step: SearchStep) -> None:
        assert self.search
        self.search.steps.append(step)
        self._reporter(self.measurements[step.measurement], step)

    def _conclude(self, rate: float | None) -> None:
        """Say what was found, and what kept it from being more: the lowest rate above it that missed."""
        assert self.search
        above = [
            (measurement.rate_per_s, measurement)
            for step in self.search.steps
            if step.holds is False
            and (measurement := self.measurements[step.measurement]).rate_per_s is not None
            and (rate is None or measurement.rate_per_s > rate)
        ]
        lowest = min(above, key=lambda each: each[0] or 0.0, default=None)
        limit = "nothing" if lowest is None else "harness" if harness_limited(lowest[1]) else "server"
        self.search = Search(
            objective=self.search.objective,
            precision=self.search.precision,
            max_rate_per_s=rate,
            limited_by=limit,
            steps=self.search.steps,
        )
