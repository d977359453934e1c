"""What the log of a server process says of calls, and what it does not."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from running_server import RunningServer, serving

from vecserve.oip import grpc_inference_service_pb2 as oip
from vecserve.oip.grpc_inference_service_pb2_grpc import GRPCInferenceServiceStub
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

DEBUG = "--log-level", "debug"
JSON = "--log-format", "json"

# No part of it is in any message of the server.
SECRET = "zugzwang"


def lines(server: RunningServer) -> list[dict[str, Any]]:
    """Every line but those that ONNX Runtime itself writes to standard error."""
    assert server.stop() == 0
    return [json.loads(line) for line in server.log if ":onnxruntime:" not in line]


def infer(*texts: str) -> oip.ModelInferRequest:
    contents = oip.InferTensorContents(bytes_contents=[text.encode() for text in texts])
    tensor = oip.ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[len(texts)], contents=contents
    )
    return oip.ModelInferRequest(model_name="tiny-text", inputs=[tensor])


def embed_secrets(server: RunningServer) -> None:
    """Sends texts every way there is, to be embedded, refused, and to fail."""
    requests = [
        pb.EmbedTextRequest(texts=[SECRET]),
        pb.EmbedTextRequest(texts=[f"{SECRET} the crash"]),
        pb.EmbedTextRequest(texts=[f"{SECRET} nan"]),
        pb.EmbedTextRequest(texts=[SECRET, ""]),
        pb.EmbedTextRequest(texts=[f"{SECRET} " * 100], truncation=pb.TRUNCATION_NONE),
        pb.EmbedTextRequest(texts=[SECRET] * 300),
        pb.EmbedTextRequest(texts=[SECRET], prompt="zug"),
    ]
    with server.channel() as channel:
        embedding, inference = EmbeddingServiceStub(channel), GRPCInferenceServiceStub(channel)
        for request in requests:
            _whatever_comes(lambda request=request: embedding.EmbedText(request))
            _whatever_comes(lambda request=request: inference.ModelInfer(infer(*request.texts)))
        _whatever_comes(lambda: embedding.EmbedImage(pb.EmbedImageRequest(images=[pb.Image(content=SECRET.encode())])))
        streamed = [pb.StreamEmbedRequest(id=str(number), text=text) for number, text in enumerate(requests)]
        assert len(list(embedding.StreamEmbed(iter(streamed)))) == len(requests)


def _whatever_comes(call: Any) -> None:
    with contextlib.suppress(grpc.RpcError):
        call()


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_text_is_in_the_log_whatever_became_of_it(models_dir: Path, form: str) -> None:
    with serving(models_dir, *DEBUG, "--log-format", form) as server:
        embed_secrets(server)
        server.stop()
    log = "".join(server.log)
    assert SECRET not in log
    assert "Traceback" in log
    assert log.count("code=INTERNAL") > 2
    assert not re.search(r"-?\d\.\d{3,}, -?\d\.\d{3,}", log), "a vector"


def test_texts_are_shown_if_that_is_asked_for_and_the_log_says_so(models_dir: Path) -> None:
    with serving(models_dir, *DEBUG, *JSON, "--log-inputs") as server, server.channel() as channel:
        EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(texts=["the cat", "sat\non"]))
        told = lines(server)

    (call,) = [line for line in told if line["message"].startswith("call ")]
    assert call["inputs"] == ["the cat", "sat\non"]
    assert any(line["level"] == "warning" and "log_inputs is set" in line["message"] for line in told)


def test_a_call_has_one_line_at_debug(models_dir: Path) -> None:
    with serving(models_dir, *DEBUG, *JSON) as server, server.channel() as channel:
        request = pb.EmbedTextRequest(texts=["the cat", "sat"])
        EmbeddingServiceStub(channel).EmbedText(request, metadata=(("x-request-id", "me"),))
        told = lines(server)

    (call,) = [line for line in told if line.get("request_id") == "me"]
    assert re.fullmatch(r"ipv[46]:.*:\d+", call.pop("peer"))
    assert 0 < call.pop("duration_ms") < 10_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", call.pop("time"))
    assert call.pop("pid") == server.process.pid
    message = call.pop("message")
    assert "method=vecserve.v1.EmbeddingService/EmbedText model=tiny-text@1 code=OK items=2 duration_ms=" in message
    assert call == {
        "level": "debug",
        "logger": "vecserve_server.telemetry.call_log",
        "request_id": "me",
        "method": "vecserve.v1.EmbeddingService/EmbedText",
        "model": "tiny-text@1",
        "code": "OK",
        "items": 2,
    }


def test_each_message_of_a_stream_has_one_too(models_dir: Path) -> None:
    with serving(models_dir, *DEBUG, *JSON) as server, server.channel() as channel:
        requests = [pb.StreamEmbedRequest(id=text, text=pb.EmbedTextRequest(texts=[text])) for text in ("cat", "")]
        list(EmbeddingServiceStub(channel).StreamEmbed(iter(requests)))
        told = lines(server)

    codes = [(line["message"].split()[0], line["code"]) for line in told if "code" in line]
    assert sorted(codes) == [("call", "OK"), ("message", "INVALID_ARGUMENT"), ("message", "OK")]


def test_an_error_is_one_object_with_its_request_id_and_its_cause(models_dir: Path) -> None:
    with serving(models_dir, *JSON) as server, server.channel() as channel:
        with pytest.raises(grpc.RpcError):
            EmbeddingServiceStub(channel).EmbedText(
                pb.EmbedTextRequest(texts=["the crash"]), metadata=(("x-request-id", "me"),)
            )
        told = lines(server)

    (error,) = [line for line in told if line["level"] == "error"]
    assert error["request_id"] == "me"
    assert "out of data bounds" in error["exception"]
    assert not any("code" in line for line in told)  # calls have lines at debug only


def test_lines_of_a_traced_call_have_its_trace_id(models_dir: Path) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    metadata = (("traceparent", f"00-{trace}-b7ad6b7169203331-00"),)
    with serving(models_dir, *DEBUG, *JSON, "--otlp-endpoint", "http://127.0.0.1:9") as server:
        with server.channel() as channel, pytest.raises(grpc.RpcError):
            EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(texts=["the crash"]), metadata=metadata)
        told = lines(server)

    levels = [line["level"] for line in told if line.get("trace_id") == trace]
    assert levels == ["error", "debug"]
