import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from scripted_server import Failure, Server, invalid, overloaded, vector_of

import vecserve
from vecserve import Client
from vecserve.v1 import embedding_service_pb2 as pb

Connect = Callable[..., Client]


def texts_of(call: Any) -> list[str]:
    return list(call.request.texts)


def test_inputs_beyond_a_batch_go_in_several_requests_and_come_back_in_order(connect: Connect, server: Server) -> None:
    texts = [f"text {n}" for n in range(70)]

    embeddings = connect(batch_size=32).embed_text(texts)

    np.testing.assert_array_equal(embeddings.vectors, [vector_of(text) for text in texts])
    assert sorted(len(texts_of(call)) for call in server.calls) == [6, 32, 32]


def test_order_holds_when_later_requests_are_answered_first(connect: Connect, server: Server) -> None:
    last_was_answered = threading.Event()

    def script(request: pb.EmbedTextRequest, context: grpc.ServicerContext) -> None:
        if request.texts[0] == "2":
            context.add_callback(last_was_answered.set)
        else:
            assert last_was_answered.wait(10)

    server.script = script

    embeddings = connect(batch_size=1).embed_text(["0", "1", "2"])

    np.testing.assert_array_equal(embeddings.vectors, [vector_of(text) for text in "012"])


def test_no_more_requests_are_under_way_than_the_concurrency_allows(connect: Connect, server: Server) -> None:
    pair = threading.Barrier(2)  # passed only if two requests are under way at once

    def script(request: Any, context: grpc.ServicerContext) -> None:
        pair.wait(10)

    server.script = script

    connect(batch_size=1, concurrency=2).embed_text([str(n) for n in range(8)])

    assert server.most_under_way == 2


def test_images_are_read_as_their_turn_comes(connect: Connect, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "late.png"

    def script(request: pb.EmbedImageRequest, context: grpc.ServicerContext) -> None:
        if request.images[0].content == b"0":
            path.write_bytes(b"written after the call began")

    server.script = script

    embeddings = connect(batch_size=1, concurrency=1).embed_images([b"0", b"1", b"2", path])

    np.testing.assert_array_equal(embeddings.vectors[3], vector_of(b"written after the call began"))


def test_violations_name_the_callers_own_indices(connect: Connect, server: Server) -> None:
    server.script = lambda request, context: invalid({"texts[3]": "is empty"}) if "bad" in request.texts else None

    with pytest.raises(vecserve.InvalidInputError) as caught:
        connect(batch_size=32).embed_text([*map(str, range(35)), "bad", "36"])

    assert caught.value.violations == (vecserve.FieldViolation("texts[35]", "is empty"),)
    assert "texts[35]" in caught.value.message
    assert "texts[3]" not in str(caught.value)


def test_one_failed_request_cancels_the_others(connect: Connect, server: Server) -> None:
    other_arrived, other_cancelled = threading.Event(), threading.Event()

    def script(request: pb.EmbedTextRequest, context: grpc.ServicerContext) -> Failure | None:
        if request.texts[0] == "slow":
            context.add_callback(other_cancelled.set)
            other_arrived.set()
            assert other_cancelled.wait(10)
            return None
        assert other_arrived.wait(10)
        return invalid({"texts[0]": "is bad"})

    server.script = script

    with pytest.raises(vecserve.InvalidInputError):
        connect(batch_size=1, concurrency=2).embed_text(["slow", "bad", "never", "sent"])

    assert other_cancelled.wait(10)
    assert sorted(texts_of(call)[0] for call in server.calls) == ["bad", "slow"]


def test_one_failed_request_ends_anothers_wait_to_retry(connect: Connect, server: Server) -> None:
    refused = threading.Event()

    def script(request: pb.EmbedTextRequest, context: grpc.ServicerContext) -> Failure:
        if request.texts[0] == "refused":
            context.add_callback(refused.set)
            return overloaded(retry_after=20)
        assert refused.wait(10)
        return invalid({"texts[0]": "is bad"})

    server.script = script
    began = time.monotonic()

    with pytest.raises(vecserve.InvalidInputError):
        connect(batch_size=1, concurrency=2).embed_text(["refused", "bad"])

    assert time.monotonic() - began < 10
    assert len(server.calls) == 2  # so it did wait, rather than ask again at once
