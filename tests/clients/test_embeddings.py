from collections.abc import Callable

import numpy as np
import pytest
from scripted_server import DIMENSIONALITY, Server

import vecserve
from vecserve import Client
from vecserve.v1 import embedding_service_pb2 as pb


@pytest.mark.parametrize("count", [1, 40], ids=["in one request", "in several"])
def test_vectors_are_contiguous_and_the_callers_to_change(client: Client, count: int) -> None:
    vectors = client.embed_text(["a"] * count).vectors

    assert vectors.shape == (count, DIMENSIONALITY)
    assert vectors.flags.c_contiguous
    assert vectors.dtype.isnative
    vectors *= 2


def test_counts_and_truncation_are_arrays_in_order(client: Client) -> None:
    embeddings = client.embed_text(["one two three", "long " * 30])

    assert embeddings.token_counts.dtype == np.int32
    assert embeddings.token_counts.tolist() == [5, 32]
    assert embeddings.truncated.dtype == np.bool_
    assert embeddings.truncated.tolist() == [False, True]


def cut_a_vector(response: pb.EmbedTextResponse) -> None:
    response.embeddings[0].values = response.embeddings[0].values[:-1]


def drop_a_vector(response: pb.EmbedTextResponse) -> None:
    del response.embeddings[0]


def name_no_type(response: pb.EmbedTextResponse) -> None:
    response.format.element_type = pb.ELEMENT_TYPE_UNSPECIFIED


@pytest.mark.parametrize(
    ("distort", "message"),
    [
        (cut_a_vector, "isn't 32 bytes"),
        (drop_a_vector, "2 inputs were answered by 1 vectors"),
        (name_no_type, "element type 0"),
    ],
)
def test_an_answer_that_contradicts_the_api_is_an_error(
    client: Client, server: Server, distort: Callable[[pb.EmbedTextResponse], None], message: str
) -> None:
    server.distort = distort

    with pytest.raises(vecserve.BadResponseError, match=message):
        client.embed_text(["a", "b"])
