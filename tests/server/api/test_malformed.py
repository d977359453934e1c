import pytest

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.malformed import Malformed, tolerant, wellformed
from vecserve_server.engine.errors import InvalidInputError

parse = tolerant(pb.EmbedTextRequest.FromString)


def test_a_message_is_parsed_and_passed_on() -> None:
    request = pb.EmbedTextRequest(texts=["a"])

    assert wellformed(parse(request.SerializeToString())) == request


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x12\x05ab", b"\x12\x02\xff\xfe"], ids=["garbage", "cut short", "not UTF-8"]
)
def test_bytes_that_are_no_message_are_refused_by_the_handler(data: bytes) -> None:
    request = parse(data)

    assert isinstance(request, Malformed)
    with pytest.raises(InvalidInputError, match="is not a valid message of its type"):
        wellformed(request)


def test_other_failures_of_a_parser_are_not_hidden() -> None:
    def broken(data: bytes) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        tolerant(broken)(b"")
