import io
from collections.abc import Callable

import pytest

from vecserve_loadtest import ClosedLoop, Load, OpenLoop, Plan, Workload, read_plan, write_plan

WORKLOAD = Workload("/a.B/C", [b"one", b"", b"\n" * 1000])
LOAD = Load("load", WORKLOAD, ClosedLoop(4))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Workload("EmbedText", [b""]), "method must be /PACKAGE.SERVICE/METHOD, not 'EmbedText'"),
        (lambda: Workload("/a.B/C", []), "messages is empty"),
        (lambda: Workload("/a.B/C", [b""], (("X-Upper", "a"),)), "'X-Upper' is not such a name"),
        (lambda: Workload("/a.B/C", [b""], (("grpc-timeout", "1S"),)), "'grpc-timeout' is not such a name"),
        (lambda: Workload("/a.B/C", [b""], (("x-a", "b\n"),)), "printable ASCII"),
        (lambda: Workload("/a.B/C", [b""], deadline=0), "deadline must be a positive number, not 0"),
        (lambda: ClosedLoop(0), "concurrency must be at least 1, not 0"),
        (lambda: OpenLoop(-5), "rate must be a positive number, not -5"),
        (lambda: OpenLoop(float("nan")), "rate must be a positive number, not nan"),
        (lambda: OpenLoop(1, "weekly"), "arrivals must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: OpenLoop(1, max_in_flight=0), "max_in_flight must be at least 1"),
        (lambda: OpenLoop(1, late_after=-1), "late_after must be a number that is not negative"),
        (lambda: Load("a", WORKLOAD, ClosedLoop(1), connections=0), "connections must be at least 1"),
        (lambda: Plan("localhost", (LOAD,), 1), "address must be HOST:PORT, such as 127.0.0.1:50051, or unix:PATH"),
        (lambda: Plan("localhost:1", (), 1), "loads is empty"),
        (lambda: Plan("localhost:1", (LOAD, LOAD), 1), "a name twice"),
        (lambda: Plan("localhost:1", (Load("a", WORKLOAD, ClosedLoop(1), 501),), 1), "more than 500 connections"),
        (lambda: Plan("localhost:1", (LOAD,), 0), "duration must be a positive number"),
        (lambda: Plan("localhost:1", (LOAD,), 1, warmup=-1), "warmup must be a number that is not negative"),
        (lambda: Plan("localhost:1", (LOAD,), 1, drain=float("inf")), "drain must be a number that is not negative"),
    ],
)
def test_a_value_out_of_range_is_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_a_plan_comes_out_of_its_file_as_it_went_in() -> None:
    bulk = Workload("/a.B/D", [b"bulk"], (("x-vecserve-priority", "bulk"),), deadline=0.25)
    loads = (
        LOAD,
        Load("open", bulk, OpenLoop(5, "constant", 3, 100, 0.5), 2, keep_responses="all", server_timing_every=1),
    )
    plan = Plan(
        "[::1]:50051", loads, duration=3, warmup=1, drain=2, connect_timeout=7, poll_interval=0, send_interval=0.1
    )

    file = io.BytesIO()
    write_plan(plan, file)
    file.seek(0)

    assert read_plan(file) == plan


@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"loads": [], "surprise": 1}\n', b"[]\n", b"\xff\n"])
def test_a_file_that_is_no_plan_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_plan(io.BytesIO(content))


def test_a_plan_that_ends_early_is_refused() -> None:
    file = io.BytesIO()
    write_plan(Plan("localhost:1", (LOAD,), 1), file)

    with pytest.raises(ValueError, match="ends in the midst of a message of 1000 bytes"):
        read_plan(io.BytesIO(file.getvalue()[:-1]))
    with pytest.raises(ValueError, match="not a plan"):
        read_plan(io.BytesIO(file.getvalue()[:-1002]))
