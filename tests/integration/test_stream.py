"""StreamEmbed over a real channel."""

import io
from queue import SimpleQueue

import grpc
import numpy as np
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest
from PIL import Image

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub


def text(identity: str, *texts: str) -> pb.StreamEmbedRequest:
    return pb.StreamEmbedRequest(id=identity, text=pb.EmbedTextRequest(texts=texts))


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 40), "teal").save(file, "PNG")
    return file.getvalue()


def fields(answer: pb.StreamEmbedResponse) -> list[str]:
    bad_request = BadRequest()
    for detail in answer.error.details:
        detail.Unpack(bad_request)
    return [violation.field for violation in bad_request.field_violations]


def test_every_request_is_answered_once_under_its_id(embedding: EmbeddingServiceStub) -> None:
    requests = [text(str(index), *[f"text {index}"] * (1 + index % 5)) for index in range(200)]
    answers = {answer.id: answer for answer in embedding.StreamEmbed(iter(requests))}
    assert sorted(answers, key=int) == [request.id for request in requests]
    assert all(len(answers[str(index)].text.embeddings) == 1 + index % 5 for index in range(200))


def test_a_stream_gives_the_vectors_of_the_unary_call(embedding: EmbeddingServiceStub) -> None:
    image = pb.EmbedImageRequest(images=[pb.Image(content=png())])
    both = [text("text", "the same"), pb.StreamEmbedRequest(id="image", image=image)]
    answers = {answer.id: answer for answer in embedding.StreamEmbed(iter(both))}
    unary_text = embedding.EmbedText(pb.EmbedTextRequest(texts=["the same"]))
    assert answers["text"].text.format == unary_text.format
    for streamed, unary in (
        (answers["text"].text.embeddings[0].values, unary_text.embeddings[0].values),
        (answers["image"].image.embeddings[0].values, embedding.EmbedImage(image).embeddings[0].values),
    ):
        np.testing.assert_allclose(np.frombuffer(streamed, "<f4"), np.frombuffer(unary, "<f4"), rtol=1e-5, atol=1e-6)


def test_a_failed_request_leaves_the_stream_open(embedding: EmbeddingServiceStub) -> None:
    requests = [text("bad", "fine", ""), pb.StreamEmbedRequest(id="unset"), text("good", "fine")]
    answers = {answer.id: answer for answer in embedding.StreamEmbed(iter(requests))}
    assert answers["bad"].error.code == Code.INVALID_ARGUMENT
    assert fields(answers["bad"]) == ["texts[1]"]
    assert fields(answers["unset"]) == ["request"]
    assert len(answers["good"].text.embeddings) == 1


def test_an_id_may_be_used_again_once_it_was_answered(embedding: EmbeddingServiceStub) -> None:
    requests: SimpleQueue[pb.StreamEmbedRequest | None] = SimpleQueue()
    answers = embedding.StreamEmbed(iter(requests.get, None))
    for _ in range(2):
        requests.put(text("again", "once"))
        assert next(answers).WhichOneof("result") == "text"
    requests.put(None)
    assert list(answers) == []


def test_an_id_that_is_not_answered_yet_may_not_be_used(embedding: EmbeddingServiceStub) -> None:
    slow = [f"{index} " * 200 for index in range(32)]
    answers = list(embedding.StreamEmbed(iter([text("twin", *slow), text("twin", "quick")])))
    refused, answered = answers
    assert fields(refused) == ["id"]
    assert len(answered.text.embeddings) == 32


def test_a_message_that_is_none_gets_an_error_result(channel: grpc.Channel) -> None:
    stream = channel.stream_stream(
        "/vecserve.v1.EmbeddingService/StreamEmbed", response_deserializer=pb.StreamEmbedResponse.FromString
    )
    answers = list(stream(iter([b"\xff\xff", text("good", "fine").SerializeToString()])))
    results = {answer.id: answer.WhichOneof("result") for answer in answers}
    assert results == {"": "error", "good": "text"}


def test_a_stream_that_is_cancelled_leaves_the_server_serving(embedding: EmbeddingServiceStub) -> None:
    for _ in range(5):
        call = embedding.StreamEmbed(text(str(index), "work " * 200) for index in range(50))
        next(call)
        call.cancel()
        with pytest.raises(grpc.RpcError):
            list(call)
    assert len(embedding.EmbedText(pb.EmbedTextRequest(texts=["still here"]), timeout=30).embeddings) == 1
