"""What the command was asked to do: from arguments to values."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vecserve.commands.connection import authorization
from vecserve_bench.arguments import CAPACITY_CONCURRENCY, DEFAULT_CONCURRENCY, build_parser
from vecserve_bench.objective import Objective
from vecserve_bench.settings import AtConcurrency, AtRate, Content, Pressure, Service, Step

_DURATION = 10.0
_LONGEST = 3600.0  # for a number of calls


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go."""

    json: Path | None
    """`-` for stdout."""
    html: Path | None
    compare: Path | None
    title: str
    quiet: bool


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was asked to do."""

    service: Service
    content: Content
    pressure: Pressure
    steps: Sequence[Step]
    """What to measure, one after another; for a search, the closed loop that shows the capacity."""
    objective: Objective | None
    searches: bool
    """Whether to look for the highest rate within the objective."""
    precision: float
    recorded: Path | None
    """A record to show in place of a measurement."""
    outputs: Outputs


def parse(argv: Sequence[str]) -> Options:
    """Return what the arguments ask for.

    Raises:
        SystemExit: On wrong usage (2), and after `--help` (0).
    """
    parser = build_parser()
    given = parser.parse_args(argv)
    try:
        return _options(given)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def _options(given: argparse.Namespace) -> Options:
    if given.find_max_rate and given.slo is None:
        raise ValueError("--find-max-rate needs --slo, such as --slo p99=50ms")
    if given.find_max_rate and given.calls:
        raise ValueError("--find-max-rate measures for a --duration, not a number of --calls")
    if given.concurrency and not given.find_max_rate and _others(given):
        raise ValueError(f"argument --concurrency: not allowed with argument {_others(given)}")
    connections = given.connections or given.processes
    if connections < given.processes:
        raise ValueError(f"{given.processes} processes need as many connections, and --connections is {connections}")
    return Options(
        service=_service(given),
        content=Content(given.text, given.texts, given.words, given.images, given.image_size, given.batch, given.seed),
        pressure=Pressure(
            connections=connections,
            processes=given.processes,
            duration=given.duration or (_LONGEST if given.calls else _DURATION),
            warmup=given.warmup,
            drain=given.drain,
            calls=given.calls,
            arrivals=given.arrivals,
            max_in_flight=given.max_in_flight,
            late_after=given.late_after / 1e3,
            seed=given.seed,
            realtime=given.realtime,
            check_vectors=given.check_vectors,
        ),
        steps=_steps(given),
        objective=given.slo,
        searches=given.find_max_rate,
        precision=given.precision,
        recorded=given.recorded,
        outputs=Outputs(given.json, given.html, given.compare, given.title, given.quiet or given.json == Path("-")),
    )


def _others(given: argparse.Namespace) -> str:
    named = {
        "--rate": given.rate,
        "--concurrencies": given.concurrencies,
        "--rates": given.rates,
        "--from": given.recorded,
    }
    return next((name for name, value in named.items() if value), "")


def _service(given: argparse.Namespace) -> Service:
    if given.api == "oip" and (given.prompt or given.stream):
        raise ValueError("--prompt and --stream are of vecserve's own API, not of --api oip")
    if given.stream and given.deadline:
        raise ValueError("--deadline can't go with --stream: gRPC's deadline is for the whole stream")
    metadata = tuple(given.metadata)
    if given.priority:
        metadata += (("x-vecserve-priority", given.priority),)
    metadata += authorization(given.address, given.token_file, plaintext_allowed=given.plaintext_token)
    return Service(given.address, given.api, given.model, given.prompt, metadata, given.deadline, streamed=given.stream)


def _steps(given: argparse.Namespace) -> Sequence[Step]:
    if given.find_max_rate:
        return (AtConcurrency(given.concurrency or CAPACITY_CONCURRENCY),)
    if given.rate:
        return (AtRate(given.rate),)
    if given.rates:
        return tuple(AtRate(rate) for rate in given.rates)
    if given.concurrencies:
        return tuple(AtConcurrency(concurrency) for concurrency in given.concurrencies)
    return (AtConcurrency(given.concurrency or DEFAULT_CONCURRENCY),)
