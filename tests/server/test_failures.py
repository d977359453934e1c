"""A server whose model fails for some texts, called over a real channel."""

from collections.abc import Generator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from running_server import RunningServer, rpc_status, serving, trailers

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub


@pytest.fixture
def server(models_dir: Path) -> Generator[RunningServer]:
    with serving(models_dir) as running:
        yield running


@pytest.fixture
def embedding(server: RunningServer) -> Generator[EmbeddingServiceStub]:
    with server.channel() as channel:
        yield EmbeddingServiceStub(channel)


@pytest.mark.parametrize(
    ("text", "cause"), [("the crash", "indices element out of data bounds"), ("nan", "not finite")]
)
def test_callers_learn_the_request_id_and_the_log_has_the_cause_under_it(
    server: RunningServer, embedding: EmbeddingServiceStub, text: str, cause: str
) -> None:
    identity = f"failing-{text.split()[-1]}"
    with pytest.raises(grpc.RpcError) as raised:
        embedding.EmbedText(pb.EmbedTextRequest(texts=[text]), metadata=(("x-request-id", identity),))
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    told = str(raised.value.details())
    assert identity in told
    assert cause not in told
    info = ErrorInfo()
    assert rpc_status(raised.value).details[0].Unpack(info)
    assert info.reason == "ERROR_REASON_INFERENCE_FAILED"
    assert server.stop() == 0
    log = "".join(server.log)
    assert cause in log[log.index(identity) :]


def test_the_server_serves_on_after_a_run_has_failed(embedding: EmbeddingServiceStub) -> None:
    for texts in (["crash"], ["the cat", "nan"]):
        with pytest.raises(grpc.RpcError):
            embedding.EmbedText(pb.EmbedTextRequest(texts=texts))
    assert len(embedding.EmbedText(pb.EmbedTextRequest(texts=["the cat", "sat"])).embeddings) == 2


def test_a_stream_tells_the_request_id_that_its_trailers_carry(embedding: EmbeddingServiceStub) -> None:
    request = pb.StreamEmbedRequest(id="1", text=pb.EmbedTextRequest(texts=["crash"]))
    stream = embedding.StreamEmbed(iter([request]))
    (answer,) = stream
    assert trailers(stream)["x-request-id"] in answer.error.message
