from typing import Any

from benchmarks.measuring import Bench


def test_what_is_measured_stands_between_two_halves_of_the_limit() -> None:
    in_no_process: Any = None
    bench = Bench("", "", in_no_process, threads=2, seconds=1.0, text_model="")
    asked: list[str] = []
    limits = iter([10.0, 14.0])

    def limit() -> float:
        asked.append("limit")
        return next(limits)

    def server() -> str:
        asked.append("server")
        return "measured"

    assert bench.beside(limit, server) == (12.0, "measured")
    assert asked == ["limit", "server", "limit"]
