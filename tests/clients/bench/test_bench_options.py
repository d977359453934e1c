from pathlib import Path

import pytest

from vecserve_bench.describing import command
from vecserve_bench.distributions import BatchSizes, Lengths
from vecserve_bench.objective import Objective
from vecserve_bench.options import parse
from vecserve_bench.settings import AtConcurrency, AtRate, Content, Pressure, Service


def test_without_options_eight_calls_are_in_flight_for_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VECSERVE_ADDRESS", raising=False)

    options = parse([])

    assert options.steps == (AtConcurrency(8),)
    assert options.service == Service("127.0.0.1:50051")
    assert options.content == Content()
    assert options.pressure == Pressure()


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSERVE_ADDRESS", "host:1")

    assert parse([]).service.address == "host:1"
    assert parse(["--address", "host:2"]).service.address == "host:2"


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ("--concurrency 4", (AtConcurrency(4),)),
        ("--rate 12.5", (AtRate(12.5),)),
        ("--rates 10,20", (AtRate(10), AtRate(20))),
        ("--concurrencies 1,2", (AtConcurrency(1), AtConcurrency(2))),
        ("--find-max-rate --slo p99=1ms", (AtConcurrency(64),)),
        ("--find-max-rate --slo p99=1ms --concurrency 16", (AtConcurrency(16),)),
    ],
)
def test_loads_are_read(arguments: str, steps: object) -> None:
    assert parse(arguments.split()).steps == steps


def test_everything_else_is_read() -> None:
    service = "--address h:1 --api oip --model m --deadline 0.5 --priority bulk"
    content = "--words 8:1:2-64 --batch 1-4 --seed 3"
    window = "--connections 4 --processes 2 --duration 5 --warmup 0 --drain 1 --max-in-flight 9 --late-after 2"
    rest = "--arrivals constant --no-realtime --check-vectors --slo p99=50ms --json a.json --html b.html -q"

    options = parse([*" ".join((service, content, window, rest)).split(), "-H", "Authorization: Bearer x"])

    metadata = (("authorization", "Bearer x"), ("x-vecserve-priority", "bulk"))
    assert options.service == Service("h:1", "oip", "m", "", metadata, 0.5)
    assert options.content == Content(words=Lengths(8, 1, 2, 64), batch=BatchSizes.parse("1-4"), seed=3)
    assert options.pressure == Pressure(
        4, 2, 5, 0, 1, None, "constant", 9, 0.002, 3, realtime=False, check_vectors=True
    )
    assert options.objective == Objective.parse("p99=50ms")
    assert (options.outputs.json, options.outputs.html, options.outputs.quiet) == (Path("a.json"), Path("b.html"), True)


def test_a_number_of_calls_may_take_an_hour_unless_a_duration_is_given() -> None:
    assert parse(["--calls", "10"]).pressure.duration == 3600
    assert parse(["--calls", "10", "--duration", "5"]).pressure.duration == 5


def test_processes_have_a_connection_each() -> None:
    assert parse(["--processes", "3"]).pressure.connections == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rate 0", "must be a positive number, not 0"),
        ("--rate x", "must be a number, not 'x'"),
        ("--rate 5 --concurrency 3", "--concurrency: not allowed with argument --rate"),
        ("--rate 5 --rates 3", "not allowed with argument"),
        ("--concurrency 0", "must be at least 1, not 0"),
        ("--find-max-rate", "--find-max-rate needs --slo"),
        ("--find-max-rate --slo p99=1ms --calls 5", "not a number of --calls"),
        ("--slo p99", "an objective is pN=LATENCY"),
        ("--precision 90", "from 0.5 to 50 percent"),
        ("--processes 4 --connections 2", "4 processes need as many connections"),
        ("--api oip --stream", "are of vecserve's own API"),
        ("--stream --deadline 1", "for the whole stream"),
        ("--text a --texts b", "not allowed with argument"),
        ("--words a", "lengths are MEDIAN"),
        ("--batch a", "batch sizes are N"),
        ("--image-size 5", "must be WIDTHxHEIGHT"),
        ("-H x", "must be NAME: VALUE"),
        ("--warmup -1", "not negative"),
        ("--seed -1", "must not be negative"),
        ("--dur 5", "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_named(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments.split())

    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_option_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--find-max-rate --slo p99=50ms" in shown
    assert "as often), or N:WEIGHT" in " ".join(shown.split())
    assert "errors=1%" in shown


@pytest.mark.parametrize(
    ("arguments", "repeated"),
    [
        (["--rate", "5"], "vecserve bench --rate 5"),
        (["--text", "a b", "--json", "x.json", "--html=y.html"], "vecserve bench --text 'a b'"),
        (["-H", "authorization: Bearer s3cret"], "vecserve bench -H 'authorization: ...'"),
        (["-Hauthorization: s3cret"], "vecserve bench '-Hauthorization: ...'"),
        (["--metadata=authorization: s3cret"], "vecserve bench --metadata 'authorization: ...'"),
    ],
)
def test_a_reports_command_has_no_outputs_and_no_secrets(arguments: list[str], repeated: str) -> None:
    assert command(arguments) == repeated
