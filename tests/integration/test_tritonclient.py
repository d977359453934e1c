"""Triton's own Python client, as it comes from PyPI.

It runs in an environment of its own: it wants another protobuf, and its stubs have the names that ours have.
"""

import base64
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from environment import Environment
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from running_server import RunningServer

from vecserve.oip import grpc_inference_service_pb2, model_config_pb2

GUIDE = Path(__file__).parents[2] / "docs" / "open-inference-protocol.md"

PREPARED = """
import asyncio, queue, sys
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])

def tensor(name, datatype, array, kind=triton):
    tensor = kind.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor

def texts(*texts, kind=triton):
    return tensor("text", "BYTES", np.array([[text.encode()] for text in texts], dtype=object), kind)

def vectors(result):
    return result.as_numpy("embedding")
"""

Run = Callable[[str], str]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("triton"))
    environment.install("tritonclient[grpc]==2.73.0")
    return environment


@pytest.fixture
def run(triton: Environment, server: RunningServer) -> Run:
    """Runs a program that has a client, and returns what it prints."""
    return lambda program: triton.run("-c", PREPARED + textwrap.dedent(program), server.address)


def test_health_metadata_and_configuration(run: Run) -> None:
    run("""
        assert client.is_server_live() and client.is_server_ready()
        ready = [("resnet50", ""), ("resnet50", "1"), ("resnet50", "2"), ("nope", "")]
        assert [client.is_model_ready(*model) for model in ready] == [True, True, False, False]
        server = client.get_server_metadata()
        assert server.name == "vecserve" and "statistics" in server.extensions
        model = client.get_model_metadata("all-minilm-l6-v2")
        assert [(i.name, i.datatype, list(i.shape)) for i in model.inputs] == [("text", "BYTES", [-1, 1])]
        assert [(o.name, o.datatype, list(o.shape)) for o in model.outputs] == [("embedding", "FP32", [-1, 384])]
        config = client.get_model_config("resnet50").config
        assert (config.max_batch_size, config.backend, list(config.input[0].dims)) == (256, "onnxruntime", [1])
        assert config.dynamic_batching.priority_levels == 2
        index = client.get_model_repository_index()
        assert [(m.name, m.state) for m in index.models] == [("all-minilm-l6-v2", "READY"), ("resnet50", "READY")]
    """)


def test_raw_inputs_are_embedded(run: Run) -> None:
    run("""
        result = client.infer("all-minilm-l6-v2", [texts("a cat", "a dog")], request_id="7", model_version="1")
        assert (vectors(result).shape, vectors(result).dtype) == ((2, 384), np.float32)
        assert result.get_response().id == "7"
        assert np.allclose(np.linalg.norm(vectors(result), axis=1), 1, atol=1e-5)

        wanted = [triton.InferRequestedOutput("embedding")]
        halves = client.infer("all-minilm-l6-v2", [texts("a cat", "a dog")], outputs=wanted, priority=2,
                              timeout=5_000_000, client_timeout=5, parameters={"element_type": "FP16"})
        assert vectors(halves).dtype == np.float16
        assert np.abs(vectors(halves) - vectors(result)).max() < 1e-3

        ids = np.array([[101, 1037, 4937, 102, 0]])  # [CLS] a cat [SEP] [PAD]
        tokens = [tensor("input_ids", "INT64", ids), tensor("attention_mask", "INT64", (ids > 0).astype(np.int64))]
        assert np.abs(vectors(client.infer("all-minilm-l6-v2", tokens)) - vectors(result)[:1]).max() < 1e-6

        pixels = tensor("pixel_values", "UINT8", np.full((1, 224, 224, 3), 9, np.uint8))
        assert vectors(client.infer("resnet50", [pixels])).shape == (1, 2048)
    """)


def test_inputs_as_contents_are_embedded_and_read_back(run: Run) -> None:
    run("""
        from tritonclient.grpc import service_pb2, service_pb2_grpc
        import grpc

        stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(sys.argv[1]))
        request = service_pb2.ModelInferRequest(model_name="all-minilm-l6-v2", id="8")
        request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"a cat")
        result = triton.InferResult(stub.ModelInfer(request))
        assert vectors(result).tobytes() == vectors(client.infer("all-minilm-l6-v2", [texts("a cat")])).tobytes()
        assert result.get_response().id == "8"
    """)


def test_calls_in_the_background(run: Run) -> None:
    run("""
        answers = queue.Queue()
        for _ in range(8):
            client.async_infer("all-minilm-l6-v2", [texts("a cat")], lambda result, error: answers.put((result, error)))
        for _ in range(8):
            result, error = answers.get(timeout=30)
            assert error is None and vectors(result).shape == (1, 384)
    """)


def test_the_client_for_asyncio(run: Run) -> None:
    run("""
        async def main():
            async with triton_aio.InferenceServerClient(sys.argv[1]) as client:
                assert await client.is_server_live() and await client.is_model_ready("all-minilm-l6-v2")
                assert (await client.get_server_metadata()).name == "vecserve"
                assert (await client.get_model_config("resnet50")).config.max_batch_size == 256
                calls = [
                    client.infer("all-minilm-l6-v2", [texts(f"text {i}", kind=triton_aio)], request_id=str(i))
                    for i in range(20)
                ]
                results = await asyncio.gather(*calls)
                assert [result.get_response().id for result in results] == [str(i) for i in range(20)]
                assert all(vectors(result).shape == (1, 384) for result in results)

        asyncio.run(main())
    """)


def test_errors_name_what_is_wrong(run: Run) -> None:
    told = run("""
        cat = texts("a cat")
        for call in (
            lambda: client.infer("nope", [cat]),
            lambda: client.infer("all-minilm-l6-v2", [cat], model_version="9"),
            lambda: client.infer("resnet50", [cat]),
            lambda: client.infer("all-minilm-l6-v2", [texts("a", "")]),
            lambda: client.infer("all-minilm-l6-v2", [cat], sequence_id=3),
            lambda: client.infer("all-minilm-l6-v2", [cat], outputs=[triton.InferRequestedOutput("logits")]),
            lambda: client.infer("all-minilm-l6-v2", [texts(*["a"] * 64)], timeout=1),
            lambda: client.get_system_shared_memory_status(),
        ):
            try:
                call()
            except InferenceServerException as error:
                print(error.status(), error.message())
    """)
    expected = [
        "NOT_FOUND model 'nope' is not loaded; loaded are: all-minilm-l6-v2, resnet50",
        "NOT_FOUND model 'all-minilm-l6-v2' is loaded in version '1', not '9'",
        "INVALID_ARGUMENT inputs are 'text', and the model takes image (BYTES",
        "INVALID_ARGUMENT inputs.text[1] is empty",
        "INVALID_ARGUMENT parameters.sequence_end is not known for these inputs; known are: ",
        "INVALID_ARGUMENT outputs[0].name is 'logits', and the only one is 'embedding'",
        "DEADLINE_EXCEEDED ",
        "UNIMPLEMENTED ",
    ]
    lines = told.splitlines()
    assert len(lines) == len(expected)
    for line, beginning in zip(lines, expected, strict=True):
        assert line.startswith(f"StatusCode.{beginning}"), line


def test_statistics(run: Run) -> None:
    run("""
        def known():
            (model,) = client.get_inference_statistics("all-minilm-l6-v2").model_stats
            return model

        before = known()
        client.infer("all-minilm-l6-v2", [texts("a", "b", "c")])
        after = known()
        assert after.inference_count - before.inference_count == 3
        assert after.inference_stats.success.count - before.inference_stats.success.count == 1
        assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
        assert len(client.get_inference_statistics().model_stats) == 2
    """)


def test_the_guides_example_runs(triton: Environment, server: RunningServer) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)

    assert triton.run("-c", example.replace("127.0.0.1:50051", server.address)) == "(2, 384) float16\n"


def test_every_name_number_and_type_is_the_published_one(triton: Environment) -> None:
    published = dict(_declarations(_descriptors_of(triton)))
    ours = dict(_declarations(map(_declared, (grpc_inference_service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR))))

    assert len(ours) > 150
    assert ours == {name: published.get(name) for name in ours}


def _descriptors_of(triton: Environment) -> list[FileDescriptorProto]:
    """What tritonclient's stubs were made from. Only its own process may load them beside those names of ours."""
    serialized = triton.run(
        "-c",
        "import base64; from tritonclient.grpc import model_config_pb2, service_pb2\n"
        "for module in (model_config_pb2, service_pb2):\n"
        "    print(base64.b64encode(module.DESCRIPTOR.serialized_pb).decode())",
    )
    return [FileDescriptorProto.FromString(base64.b64decode(line)) for line in serialized.split()]


def _declared(file: FileDescriptor) -> FileDescriptorProto:
    return FileDescriptorProto.FromString(file.serialized_pb)


def _declarations(files: Iterable[FileDescriptorProto]) -> Iterator[tuple[str, object]]:
    """All that decides what is on the wire, by its full name."""
    for file in files:
        for message in file.message_type:
            yield from _of_message(f"{file.package}.{message.name}", message)
        for enum in file.enum_type:
            yield from _of_enum(f"{file.package}.{enum.name}", enum)
        for service in file.service:
            for method in service.method:
                described = method.input_type, method.output_type, method.client_streaming, method.server_streaming
                yield f"{file.package}.{service.name}/{method.name}", described


def _of_message(name: str, message: DescriptorProto) -> Iterator[tuple[str, object]]:
    yield name, message.options.map_entry
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
        yield f"{name}.{field.name}", (field.number, field.type, field.type_name, field.label, oneof)
    for nested in message.nested_type:
        yield from _of_message(f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        yield from _of_enum(f"{name}.{enum.name}", enum)


def _of_enum(name: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, object]]:
    for value in enum.value:
        yield f"{name}.{value.name}", value.number
