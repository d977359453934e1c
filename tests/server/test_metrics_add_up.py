"""Counts of a server equal what a load generator saw, whatever became of its calls."""

from collections import Counter
from collections.abc import Generator
from pathlib import Path

import grpc
import numpy as np
import pytest
from running_server import RunningServer, serving
from scraping import free_address, scrape_until

from vecserve.oip import grpc_inference_service_pb2 as oip
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_loadtest import Load, LoadResult, OpenLoop, Plan, Status, Workload, run

EMBED_TEXT = "vecserve.v1.EmbeddingService/EmbedText"
STREAM_EMBED = "vecserve.v1.EmbeddingService/StreamEmbed"
MODEL_INFER = "inference.GRPCInferenceService/ModelInfer"

# Texts of a call, and what becomes of it.
GOOD = [["the cat"], ["the cat sat", "on the mat", "hello"], ["hello world"] * 20]
FAILING = [["the crash"], ["nan"]]
REFUSED = [["the cat", ""], ["hello"] * 300]
TEXTS = [*GOOD, *FAILING, *REFUSED]


@pytest.fixture
def metrics_address() -> str:
    return free_address()


@pytest.fixture
def server(models_dir: Path, metrics_address: str) -> Generator[RunningServer]:
    # Calls that crash come often enough here to take the model out.
    with serving(models_dir, "--metrics-address", metrics_address, "--max-failures", "1000000") as running:
        yield running


def infer(texts: list[str]) -> oip.ModelInferRequest:
    contents = oip.InferTensorContents(bytes_contents=[text.encode() for text in texts])
    tensor = oip.ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[len(texts)], contents=contents
    )
    return oip.ModelInferRequest(model_name="tiny-text", inputs=[tensor])


def seen(result: LoadResult) -> dict[str, int]:
    """What the load generator saw, by code. Nothing of an open loop without a warm-up is left out."""
    assert (result.totals.lost, result.totals.unsent) == (0, 0)
    assert result.totals.sent == len(result.calls.status)
    return result.statuses


def items(result: LoadResult, code: str) -> int:
    """The texts of calls that ended with a code."""
    ended = result.calls.status == Status[code]
    return int(np.array([len(texts) for texts in TEXTS])[result.calls.message[ended]].sum())


def test_counts_are_those_of_the_load_generator(server: RunningServer, metrics_address: str) -> None:
    unary = [pb.EmbedTextRequest(texts=texts).SerializeToString() for texts in TEXTS]
    streamed = [pb.StreamEmbedRequest(text=pb.EmbedTextRequest(texts=texts)).SerializeToString() for texts in TEXTS]
    inferred = [infer(texts).SerializeToString() for texts in TEXTS]
    plan = Plan(
        server.address,
        (
            Load("unary", Workload(f"/{EMBED_TEXT}", unary), OpenLoop(rate=150), connections=2),
            Load("stream", Workload(f"/{STREAM_EMBED}", streamed, streamed=True), OpenLoop(rate=100), connections=2),
            Load("oip", Workload(f"/{MODEL_INFER}", inferred), OpenLoop(rate=100)),
        ),
        duration=2.0,
    )

    loads = {load.name: load for load in run(plan).loads}

    calls = sum(loads[name].totals.sent for name in ("unary", "oip"))
    told = scrape_until(
        metrics_address,
        lambda told: (
            told.total("calls_total") >= calls + 2
            and told.total("stream_messages_total") >= loads["stream"].totals.sent
        ),
    )
    assert told.by("code", "calls_total", method=EMBED_TEXT) == seen(loads["unary"])
    assert told.by("code", "calls_total", method=MODEL_INFER) == seen(loads["oip"])
    assert told.by("code", "stream_messages_total") == seen(loads["stream"])
    assert told.total("calls_total", method=STREAM_EMBED) == 2
    assert told.by("method", "calls_in_flight") == {}

    refused = sum(load.statuses["INVALID_ARGUMENT"] for load in loads.values())
    assert told.total("refused_calls_total", model="tiny-text") == refused
    assert told.by("reason", "refused_calls_total").keys() == {"invalid_input", "batch_too_large"}

    answered = sum(load.statuses["OK"] for load in loads.values())
    assert told.total("call_duration_seconds_count", model="tiny-text", priority="interactive") == answered
    assert told.by("stage", "stage_duration_seconds_count") == dict.fromkeys(
        ("preprocess", "queue", "compute", "respond"), answered
    )
    stages = told.total("stage_duration_seconds_sum")
    assert 0.5 * told.total("call_duration_seconds_sum") < stages <= told.total("call_duration_seconds_sum")

    queued = sum(items(load, code) for load in loads.values() for code in ("OK", "INTERNAL"))
    assert told.total("computed_items_total") + told.total("failed_items_total") == queued
    assert told.total("failed_items_total") >= sum(load.statuses["INTERNAL"] // 2 for load in loads.values())
    assert told.total("batch_items_sum") == queued
    assert told.total("dropped_items_total") == 0


def test_calls_of_methods_and_models_that_are_not_there_make_no_labels(
    server: RunningServer, metrics_address: str
) -> None:
    codes: Counter[str] = Counter()
    with server.channel() as channel:
        for index in range(20):
            for method, request in (
                (f"/vecserve.v1.EmbeddingService/Made{index}", b""),
                (f"/{EMBED_TEXT}", pb.EmbedTextRequest(model=f"made-up-{index}", texts=["a"]).SerializeToString()),
                (f"/{MODEL_INFER}", oip.ModelInferRequest(model_name=f"made-up-{index}").SerializeToString()),
            ):
                with pytest.raises(grpc.RpcError) as raised:
                    channel.unary_unary(method)(request)
                codes[raised.value.code().name] += 1

    told = scrape_until(metrics_address, lambda told: told.total("calls_total") >= 60)

    assert codes == {"UNIMPLEMENTED": 20, "NOT_FOUND": 40}
    assert told.by("code", "calls_total") == codes
    assert told.by("method", "calls_total") == {"unknown": 20, EMBED_TEXT: 20, MODEL_INFER: 20}
    assert told.by("model", "calls_total") == {"": 60}
    assert told.by("reason", "refused_calls_total") == {"model_not_found": 40}


def test_refusals_are_those_that_the_load_generator_saw(models_dir: Path, metrics_address: str) -> None:
    work = pb.EmbedTextRequest(texts=["the cat sat on the mat " * 8] * 200).SerializeToString()
    load = Load("a", Workload(f"/{EMBED_TEXT}", [work]), OpenLoop(rate=150), connections=2)
    with serving(models_dir, "--max-queue-seconds", "0.001", "--metrics-address", metrics_address) as server:
        (result,) = run(Plan(server.address, (load,), duration=2.0)).loads
        told = scrape_until(metrics_address, lambda told: told.total("calls_total") >= result.totals.sent)

    assert told.by("code", "calls_total") == seen(result)
    assert seen(result).keys() == {"OK", "UNAVAILABLE"}
    assert told.by("reason", "refused_calls_total") == {"queue_full": seen(result)["UNAVAILABLE"]}
    assert told.total("refused_calls_total", model="") > 0, "no call was refused before it was read"
    assert told.total("computed_items_total") == 200 * seen(result)["OK"]
