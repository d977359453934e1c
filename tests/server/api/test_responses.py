from typing import Any

import numpy as np
import pytest

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.responses import model_version, serialized, serialized_for_stream
from vecserve_server.api.vectors import VectorEncoding
from vecserve_server.engine.engine import Embeddings
from vecserve_server.engine.timings import Timings
from vecserve_server.models.inputs import PreparedItem
from vecserve_server.models.model import ImageModel, TextModel

# Lengths and counts on either side of where one more byte is needed to write them.
SIZES = [1, 30, 31, 32, 4094, 4095, 4096, 600_000]
COUNTS = [0, 1, 127, 128, 16_383, 16_384, 2**31 - 1]


def encoding_of(dimensionality: int, element_type: Any = pb.ELEMENT_TYPE_FLOAT32) -> VectorEncoding:
    return VectorEncoding(dimensionality, element_type, pb.NORMALIZATION_NONE, dimensionality)


def embeddings(*vectors: Any, token_count: int = 0, truncated: bool = False) -> Embeddings:
    rows = [np.array(vector, "<f4").tobytes() for vector in vectors]
    item = PreparedItem(np.zeros(1), size=1, token_count=token_count, truncated=truncated)
    return Embeddings(rows, [item] * len(rows), Timings(0, 0, 0, 0))


def message(result: Embeddings, encoding: VectorEncoding, model: TextModel) -> pb.EmbedTextResponse:
    """The response as protobuf makes it."""
    response = pb.EmbedTextResponse(format=encoding.format, model=model_version(model))
    for values, item in zip(encoding.encode(result), result.items, strict=True):
        response.embeddings.add(values=values, token_count=item.token_count, truncated=item.truncated)
    return response


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("token_count", COUNTS)
@pytest.mark.parametrize("dimensionality", SIZES)
def test_a_response_is_what_protobuf_makes_of_it(
    text_model: TextModel, dimensionality: int, token_count: int, truncated: bool
) -> None:
    encoding = encoding_of(dimensionality)
    vectors = np.arange(2 * dimensionality, dtype=np.float32).reshape(2, -1)
    result = embeddings(*vectors, token_count=token_count, truncated=truncated)

    response = serialized(pb.EmbedTextResponse, result, encoding, text_model)

    assert pb.EmbedTextResponse.FromString(response) == message(result, encoding, text_model)


def test_embeddings_keep_their_order_and_their_own_counts(text_model: TextModel) -> None:
    one, other = embeddings([1, 2], token_count=7), embeddings([3, 4], token_count=9, truncated=True)
    result = Embeddings([*one.rows, *other.rows], one.items + other.items, one.timings)

    response = pb.EmbedTextResponse.FromString(serialized(pb.EmbedTextResponse, result, encoding_of(2), text_model))

    assert [np.frombuffer(each.values, "<f4").tolist() for each in response.embeddings] == [[1, 2], [3, 4]]
    assert [(each.token_count, each.truncated) for each in response.embeddings] == [(7, False), (9, True)]


def test_models_and_encodings_are_not_mixed_up(text_model: TextModel, image_model: ImageModel) -> None:
    result = embeddings([1, 2])
    float16 = encoding_of(2, pb.ELEMENT_TYPE_FLOAT16)

    of_texts = pb.EmbedTextResponse.FromString(serialized(pb.EmbedTextResponse, result, float16, text_model))
    of_images = pb.EmbedImageResponse.FromString(serialized(pb.EmbedImageResponse, result, encoding_of(2), image_model))

    assert (of_texts.model, of_texts.format) == (model_version(text_model), float16.format)
    assert (of_images.model, of_images.format) == (model_version(image_model), encoding_of(2).format)
    assert [len(each.embeddings[0].values) for each in (of_texts, of_images)] == [4, 8]


@pytest.mark.parametrize("request_id", ["", "7", "é" * 200])
@pytest.mark.parametrize("dimensionality", SIZES)
def test_a_stream_carries_a_response_under_its_requests_id(
    text_model: TextModel, request_id: str, dimensionality: int
) -> None:
    result, encoding = embeddings(np.arange(dimensionality)), encoding_of(dimensionality)
    response = serialized(pb.EmbedTextResponse, result, encoding, text_model)

    answer = pb.StreamEmbedResponse.FromString(serialized_for_stream(request_id, pb.EmbedTextResponse, response))

    assert answer == pb.StreamEmbedResponse(id=request_id, text=message(result, encoding, text_model))


def test_a_stream_tells_images_from_texts(image_model: ImageModel) -> None:
    response = serialized(pb.EmbedImageResponse, embeddings([1, 2]), encoding_of(2), image_model)

    answer = pb.StreamEmbedResponse.FromString(serialized_for_stream("7", pb.EmbedImageResponse, response))

    assert answer.WhichOneof("result") == "image"
    assert answer.image == pb.EmbedImageResponse.FromString(response)
