import math
from typing import Any, cast

import pytest

from vecserve_server.api.metadata import AnyContext, add_trailing_metadata, request_id, server_timing, terms
from vecserve_server.engine.errors import InvalidInputError
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.timings import Timings


class Context:
    """The part of gRPC's context that carries metadata."""

    def __init__(self, metadata: tuple[tuple[str, Any], ...] | None, remaining: float | None = None) -> None:
        self._metadata = metadata
        self._remaining = remaining
        self._trailing: Any = ()

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> float | None:
        return self._remaining

    def trailing_metadata(self) -> Any:
        return self._trailing

    def set_trailing_metadata(self, metadata: Any) -> None:
        self._trailing = metadata


def context(*metadata: tuple[str, Any], remaining: float | None = None) -> AnyContext:
    return cast(AnyContext, Context(metadata, remaining))


@pytest.mark.parametrize("identity", ["a", "3f2c-77/Z", "x" * 128, "!~"])
def test_the_callers_id_is_kept(identity: str) -> None:
    assert request_id([("user-agent", "grpc"), ("x-request-id", identity)]) == identity


@pytest.mark.parametrize(
    "identity", ["", "x" * 129, "two words", "line\nbreak", "tab\t", "trailing\n", "naïve", b"bytes"]
)
def test_an_id_that_cannot_be_echoed_is_replaced(identity: str | bytes) -> None:
    given = request_id([("x-request-id", identity)])

    assert given != identity
    assert len(given) == 32


def test_calls_without_an_id_get_one_each() -> None:
    first, second = request_id(()), request_id(())

    assert first != second


def test_the_first_id_that_can_be_echoed_wins() -> None:
    assert request_id([("x-request-id", "not this"), ("x-request-id", "b"), ("x-request-id", "c")]) == "b"


@pytest.mark.parametrize(("remaining", "deadline"), [(None, math.inf), (1.5, 101.5), (0.0, 100.0), (-1.0, 99.0)])
def test_the_deadline_is_told_on_the_engines_clock(remaining: float | None, deadline: float) -> None:
    assert terms(context(remaining=remaining), now=100.0).deadline == deadline


@pytest.mark.parametrize(
    ("metadata", "priority"),
    [
        ([], Priority.INTERACTIVE),
        ([("x-request-id", "bulk")], Priority.INTERACTIVE),
        ([("x-vecserve-priority", "interactive")], Priority.INTERACTIVE),
        ([("x-request-id", "a"), ("x-vecserve-priority", "bulk")], Priority.BULK),
    ],
)
def test_a_call_is_interactive_unless_it_says_otherwise(metadata: list[tuple[str, str]], priority: Priority) -> None:
    assert terms(context(*metadata), now=0.0).priority is priority


def test_a_call_without_metadata_is_interactive() -> None:
    assert terms(cast(AnyContext, Context(None)), now=0.0).priority is Priority.INTERACTIVE


@pytest.mark.parametrize("value", ["urgent", "", "BULK", "bulk ", b"bulk"])
def test_an_unknown_priority_is_refused_with_those_there_are(value: str | bytes) -> None:
    with pytest.raises(InvalidInputError) as refused:
        terms(context(("x-vecserve-priority", value)), now=0.0)

    (violation,) = refused.value.violations
    assert violation.field == "x-vecserve-priority"
    assert violation.description == f"is '{value}', which is none of interactive, bulk"


@pytest.mark.parametrize("waits", [True, False])
def test_whether_a_call_waits_for_room_is_its_handlers_choice(waits: bool) -> None:
    assert terms(context(), now=0.0, waits_for_room=waits).waits_for_room is waits


def test_timings_are_milliseconds_in_the_form_of_server_timing() -> None:
    timings = Timings(preprocess=0.00123, queue=0.0, infer=1.5, output=0.1)

    assert server_timing(timings) == "preprocess;dur=1.23, queue;dur=0.00, infer;dur=1500.00"


def test_trailing_metadata_adds_up() -> None:
    trailing = context()

    add_trailing_metadata(trailing, "a", "1")
    add_trailing_metadata(trailing, "b", "2")

    assert trailing.trailing_metadata() == (("a", "1"), ("b", "2"))
