"""What goes over the wire for each API, and what is found out before a load."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from inference_server import InferenceServer, inferring
from scripted_server import Failure, Server, running, vector_of

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2 as model_pb
from vecserve_bench.api import ModelDetails, TargetError
from vecserve_bench.oip import Tensors, oip_request
from vecserve_bench.settings import Content, Service
from vecserve_bench.typed import TypedApi
from vecserve_bench.work import prepare
from vecserve_loadtest import LoadError
from vecserve_loadtest.wire import fields

TEXT: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [-1, 1]}
IMAGE: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [-1]}


@pytest.fixture
def server() -> Iterator[Server]:
    models = [
        model_pb.Model(name="encoder", version="2", modality=model_pb.MODALITY_TEXT, dimensionality=8, default=True),
        model_pb.Model(name="other", modality=model_pb.MODALITY_TEXT),
        model_pb.Model(name="resnet", modality=model_pb.MODALITY_IMAGE, default=True),
    ]
    with running(Server(models=models)) as server:
        yield server


def test_typed_requests_are_the_apis_messages() -> None:
    model = ModelDetails("encoder")
    text = TypedApi("text", "encoder", model, "query").request([b"a", "é".encode()])
    image = TypedApi("image", "", model).request([b"jpeg"])

    assert pb.EmbedTextRequest.FromString(text) == pb.EmbedTextRequest(
        model="encoder", texts=["a", "é"], prompt="query"
    )
    assert pb.EmbedImageRequest.FromString(image) == pb.EmbedImageRequest(images=[pb.Image(content=b"jpeg")])


def test_streamed_requests_have_no_id_of_their_own() -> None:
    api = TypedApi("text", "", ModelDetails(""), streamed=True)

    request = pb.StreamEmbedRequest.FromString(api.request([b"a"]))

    assert request == pb.StreamEmbedRequest(text=pb.EmbedTextRequest(texts=["a"]))
    assert api.method == "/vecserve.v1.EmbeddingService/StreamEmbed"


def test_an_inference_request_has_the_protocols_field_numbers() -> None:
    request = oip_request("encoder", Tensors("text", columns=True, output="embedding"), [b"ab", b"c"])

    parts = dict(fields(request))
    assert parts.keys() == {1, 5, 6, 7}
    assert parts[1] == b"encoder"
    assert parts[7] == b"\x02\0\0\0ab\x01\0\0\0c"
    assert isinstance(parts[5], bytes)
    assert dict(fields(parts[5])) == {1: b"text", 2: b"BYTES", 3: b"\x02\x01"}
    assert parts[6] == b"\x0a\x09embedding"


def test_the_default_model_is_asked_for_and_described(server: Server) -> None:
    work = prepare(Service(server.address), Content(text="hello"))

    assert work.api.model.name == "encoder"
    assert (work.api.model.version, work.api.model.dimensionality) == ("2", 8)
    assert server.calls[-1].request == pb.EmbedTextRequest(texts=["hello"])


def test_an_image_model_gets_made_up_images_where_nothing_is_said(server: Server) -> None:
    work = prepare(Service(server.address, model="resnet"), Content())

    assert (work.kind, len(work.sizes)) == ("image", 16)
    assert server.calls[-1].request.images[0].content.startswith(b"\xff\xd8")


def test_a_refused_first_call_is_told_in_the_servers_words(server: Server) -> None:
    refusal = Failure(grpc.StatusCode.NOT_FOUND, message="model 'nope' is not loaded; loaded are: encoder")
    server.script = lambda request, context: refusal if isinstance(request, pb.EmbedTextRequest) else None

    with pytest.raises(TargetError, match="refuses the calls: NOT_FOUND: model 'nope' is not loaded"):
        prepare(Service(server.address, model="nope"), Content())


def test_an_answer_with_too_few_vectors_is_told(server: Server) -> None:
    server.distort = lambda response: response.embeddings.pop() and None

    with pytest.raises(TargetError, match="answers 1 inputs with 0 vectors"):
        prepare(Service(server.address), Content())


def test_where_nothing_listens_the_address_is_named() -> None:
    with pytest.raises(LoadError, match=r"no gRPC server without TLS answers at 127\.0\.0\.1:1 "):
        prepare(Service("127.0.0.1:1"), Content())


def test_an_inference_server_is_asked_for_its_tensors() -> None:
    with inferring(InferenceServer([TEXT])) as server:
        work = prepare(Service(server.address, api="oip", model="encoder"), Content(text="hello"))

        (request,) = server.requests
    assert (work.kind, work.api.model.version, work.api.model.platform) == ("text", "3", "test")
    assert list(request.inputs[0].shape) == [1, 1]
    assert [output.name for output in request.outputs] == ["embedding"]


def test_an_input_of_another_name_and_shape_and_outputs_of_any_are_taken() -> None:
    named: dict[str, Any] = {"name": "sentences", "datatype": "BYTES", "shape": [-1]}
    outputs = [{"name": "pooled", "datatype": "FP32", "shape": [-1, 8]}]
    with inferring(InferenceServer([named], outputs, raw=False)) as server:
        work = prepare(Service(server.address, api="oip", model="encoder"), Content())

        (request,) = server.requests
    assert list(request.inputs[0].shape) == [1]
    assert not request.outputs
    assert work.kind == "text"


def test_images_go_to_the_input_for_images() -> None:
    with inferring(InferenceServer([TEXT, IMAGE])) as server:
        work = prepare(Service(server.address, api="oip", model="encoder"), Content(image_size=(8, 8)))

        (request,) = server.requests
    assert (work.kind, request.inputs[0].name) == ("image", "image")


def test_vectors_are_read_from_raw_contents_and_from_typed_ones() -> None:
    for raw in (True, False):
        with inferring(InferenceServer([TEXT], raw=raw)) as server:
            work = prepare(Service(server.address, api="oip", model="encoder"), Content(text="hello"))
            response = server.infer(server.requests[0], None)  # pyright: ignore[reportArgumentType] - not used
        np.testing.assert_allclose(work.api.vectors(response), [vector_of(b"hello")])


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ({"model": ""}, "--api oip needs --model NAME"),
        ({"model": "nope"}, r"does not describe model 'nope': NOT_FOUND: unknown model: 'nope'"),
        ({"model": "encoder"}, r"no input for texts or encoded images as BYTES; its inputs are: pixels \(FP32\)"),
    ],
)
def test_what_can_not_be_inferred_is_told(service: dict[str, str], message: str) -> None:
    with (
        inferring(InferenceServer([{"name": "pixels", "datatype": "FP32", "shape": [-1, 3]}])) as server,
        pytest.raises(TargetError, match=message),
    ):
        prepare(Service(server.address, api="oip", **service), Content())  # pyright: ignore[reportArgumentType] - names


def test_each_api_points_to_the_other_where_it_is_not_there(server: Server) -> None:
    with pytest.raises(TargetError, match=r"UNIMPLEMENTED: .*; for vecserve's own API leave --api oip out"):
        prepare(Service(server.address, api="oip", model="encoder"), Content())
    with (
        inferring(InferenceServer([TEXT])) as inference,
        pytest.raises(TargetError, match=r"UNIMPLEMENTED: .*for an Open Inference Protocol server add --api oip"),
    ):
        prepare(Service(inference.address), Content())
