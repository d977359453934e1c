import pytest

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.malformed import parsed
from vecserve_server.engine.errors import InvalidInputError


def test_a_message_is_parsed() -> None:
    request = pb.EmbedTextRequest(texts=["a"])

    assert parsed(pb.EmbedTextRequest.FromString, request.SerializeToString()) == request


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x12\x05ab", b"\x12\x02\xff\xfe"], ids=["garbage", "cut short", "not UTF-8"]
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="is not a valid message of its type"):
        parsed(pb.EmbedTextRequest.FromString, data)


def test_other_failures_of_a_parser_are_not_hidden() -> None:
    def broken(data: bytes) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        parsed(broken, b"")
