"""Counts of a server that has more to do than it can, whose callers give up or are refused."""

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import grpc
import pytest
from running_server import RunningServer, serving
from scraping import Scrape, free_address, scrape_until

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

# With one instance, it is ten batches on any machine.
SECONDS_OF_WORK = pb.EmbedTextRequest(texts=[f"{index} " * 255 for index in range(10, 50)])
ITEMS = len(SECONDS_OF_WORK.texts)


Until = Callable[[Callable[[Scrape], bool]], Scrape]
"""Waits until something holds of what has been counted since the test began, and returns that."""


@pytest.fixture(scope="module")
def metrics_address() -> str:
    return free_address()


@pytest.fixture(scope="module")
def server(
    example_models: Path, metrics_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[RunningServer]:
    """One instance of one model, for all tests here: the last one stops it. It refuses none for the queue's length."""
    models = tmp_path_factory.mktemp("models")
    (models / "all-minilm-l6-v2").symlink_to(example_models.absolute() / "all-minilm-l6-v2")
    flags = "--instances", "1", "--max-queue-seconds", "60", "--metrics-address", metrics_address
    with serving(models, *flags) as running:
        yield running


@pytest.fixture
def stub(server: RunningServer) -> Generator[EmbeddingServiceStub]:
    with server.channel() as channel:
        yield EmbeddingServiceStub(channel)


@pytest.fixture
def until(server: RunningServer, metrics_address: str) -> Until:
    before = scrape_until(metrics_address, lambda told: told.total("busy_instances") == 0)
    return lambda holds: scrape_until(metrics_address, holds, before)


def code_of(call: Any) -> str:
    error = call.exception()
    return error.code().name if isinstance(error, grpc.RpcError) else "OK"


def test_calls_that_were_cancelled_are_told_with_the_items_they_had_queued(
    stub: EmbeddingServiceStub, until: Until
) -> None:
    calls = [stub.EmbedText.future(SECONDS_OF_WORK) for _ in range(4)]
    full = until(lambda told: told.total("queue_items") + told.total("computed_items_total") >= 3.5 * ITEMS)
    assert full.total("queue_units") > 250 * full.total("queue_items")
    assert full.total("calls_in_flight") == 4
    assert (full.total("busy_instances"), full.total("instances", priority="interactive")) == (1, 1)

    for call in calls:
        call.cancel()

    told = until(lambda told: told.total("calls_total") == 4 and told.total("busy_instances") == 0)
    assert told.by("code", "calls_total") == {"CANCELLED": 4}
    assert told.by("reason", "dropped_items_total").keys() == {"cancelled"}
    assert told.total("dropped_items_total") + told.total("computed_items_total") == 4 * ITEMS
    assert told.total("queue_items") == told.total("queue_units") == told.total("calls_in_flight") == 0
    assert told.total("call_duration_seconds_count") == 0


def test_a_deadline_that_passes_is_told_as_such_and_not_as_cancelled(stub: EmbeddingServiceStub, until: Until) -> None:
    """The server hears of either as a stream that the client has reset."""
    late = stub.EmbedText.future(SECONDS_OF_WORK, timeout=0.35)
    silent = stub.StreamEmbed(iter(lambda: time.sleep(2) or None, None), timeout=0.35)

    assert code_of(late) == silent.code().name == "DEADLINE_EXCEEDED"
    told = until(lambda told: told.total("calls_total") == 2 and told.total("busy_instances") == 0)
    assert told.by("code", "calls_total") == {"DEADLINE_EXCEEDED": 2}
    assert told.total("dropped_items_total") + told.total("computed_items_total") == ITEMS


def test_calls_whose_deadline_cannot_be_met_are_told_as_refused(stub: EmbeddingServiceStub, until: Until) -> None:
    before = [stub.EmbedText.future(SECONDS_OF_WORK) for _ in range(4)]
    until(lambda told: told.total("queue_items") > 2 * ITEMS)

    hopeless = [stub.EmbedText.future(pb.EmbedTextRequest(texts=["too late"]), timeout=0.5) for _ in range(5)]

    assert [code_of(call) for call in hopeless] == ["UNAVAILABLE"] * 5
    told = until(lambda told: told.total("calls_total") >= 5)
    assert told.by("reason", "refused_calls_total") == {"deadline": 5}
    assert told.total("calls_total", code="UNAVAILABLE") == 5
    for call in before:
        call.cancel()
    until(lambda told: told.total("calls_total") == 9)


def test_a_server_that_is_told_to_stop_says_so(stub: EmbeddingServiceStub, server: RunningServer, until: Until) -> None:
    work = stub.EmbedText.future(SECONDS_OF_WORK)
    assert until(lambda told: told.total("calls_in_flight") == 1).total("serving") == 1

    server.process.terminate()

    until(lambda told: told.total("serving") == 0)
    assert code_of(work) == "OK"
