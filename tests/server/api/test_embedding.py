"""On what terms calls of each kind reach the engine."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.embedder import Embedder
from vecserve_server.api.embedding import EmbeddingServicer
from vecserve_server.api.gate import Gate
from vecserve_server.api.intake import Intake
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.terms import Terms
from vecserve_server.engine.timings import Timings

TEXT, IMAGE = pb.EmbedTextRequest(texts=["cat"]), pb.EmbedImageRequest(images=[pb.Image(content=b"cat")])


class Context:
    """The part of gRPC's context that calls use; 7 seconds are left to their deadline."""

    def __init__(self, **metadata: str) -> None:
        self._metadata = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
        self._trailing: Any = ()
        self.written: list[pb.StreamEmbedResponse] = []

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> float:
        return 7.0

    def trailing_metadata(self) -> Any:
        return self._trailing

    def set_trailing_metadata(self, metadata: Any) -> None:
        self._trailing = metadata

    async def write(self, response: bytes) -> None:
        self.written.append(pb.StreamEmbedResponse.FromString(response))


@pytest.fixture
def terms(monkeypatch: pytest.MonkeyPatch) -> list[Terms]:
    """What calls ask of the engine, whose clock shows 100."""
    seen: list[Terms] = []

    async def text(embedder: Embedder, request: pb.EmbedTextRequest, terms: Terms) -> Any:
        seen.append(terms)
        return b"", Timings(0, 0, 0, 0)

    async def image(embedder: Embedder, request: pb.EmbedImageRequest, terms: Terms) -> Any:
        seen.append(terms)
        return b"", Timings(0, 0, 0, 0)

    monkeypatch.setattr(Embedder, "text", text)
    monkeypatch.setattr(Embedder, "image", image)
    return seen


@pytest.fixture
def servicer() -> EmbeddingServicer:
    class Clock:
        def clock(self) -> float:
            return 100.0

    gate = Gate()
    gate.open(cast(Engine, Clock()))
    return EmbeddingServicer(gate, Intake(9, 999), max_items=10, max_stream_requests=2)


async def stream(servicer: EmbeddingServicer, context: Context) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield pb.StreamEmbedRequest(id="1", text=TEXT).SerializeToString()
        yield pb.StreamEmbedRequest(id="2", image=IMAGE).SerializeToString()

    await servicer.StreamEmbed(requests(), cast(Any, context))


async def test_single_calls_are_refused_where_there_is_no_room(servicer: EmbeddingServicer, terms: list[Terms]) -> None:
    await servicer.EmbedText(TEXT, cast(Any, Context()))
    await servicer.EmbedImage(IMAGE, cast(Any, Context()))

    assert terms == [Terms(107.0, Priority.INTERACTIVE, waits_for_room=False)] * 2


async def test_requests_of_a_stream_wait_for_room(servicer: EmbeddingServicer, terms: list[Terms]) -> None:
    await stream(servicer, Context())

    assert terms == [Terms(107.0, Priority.INTERACTIVE, waits_for_room=True)] * 2


async def test_all_calls_have_the_priority_of_their_metadata(servicer: EmbeddingServicer, terms: list[Terms]) -> None:
    context = Context(x_vecserve_priority="bulk")

    await servicer.EmbedText(TEXT, cast(Any, context))
    await servicer.EmbedImage(IMAGE, cast(Any, context))
    await stream(servicer, context)

    assert [each.priority for each in terms] == [Priority.BULK] * 4


async def test_a_stream_of_an_unknown_priority_is_told_so_by_each_answer(
    servicer: EmbeddingServicer, terms: list[Terms]
) -> None:
    context = Context(x_vecserve_priority="urgent")

    await stream(servicer, context)

    assert ["x-vecserve-priority" in answer.error.message for answer in context.written] == [True, True]
    assert terms == []
