from typing import Any

import pytest

from vecserve_server.api.errors import UnauthenticatedError
from vecserve_server.api.tokens import Exempt, TokenCheck, Tokens, TokensError
from vecserve_wire.details import Details

FIRST, SECOND = "first-token-0123456789", "second/token+0123456789=="
EMBED = "/vecserve.v1.EmbeddingService/EmbedText"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = ["/grpc.reflection.v1.ServerReflection/X", "/grpc.reflection.v1alpha.ServerReflection/X"]


def refusal(metadata: Any = (), method: str = EMBED, exempt: list[Exempt] | None = None) -> str | None:
    check = TokenCheck(lambda: Tokens([FIRST, SECOND]), ["health"] if exempt is None else exempt)
    error = check(Details(method, metadata))
    assert error is None or isinstance(error, UnauthenticatedError)
    return str(error) if error else None


def test_a_file_holds_a_token_a_line_and_comments() -> None:
    tokens = Tokens.parse(f"# of the importer\n{FIRST}\n\n  {SECOND}  \r\n".encode())

    assert tokens.accepts(FIRST)
    assert tokens.accepts(SECOND)
    assert not tokens.accepts("# of the importer")
    assert not tokens.accepts("")
    assert str(tokens) == "2"


@pytest.mark.parametrize("line", ["short", "with a space in the midst", "naïve-token-0123456789", "=" * 20, "a" * 15])
def test_a_line_that_is_no_token_is_refused_and_not_told(line: str) -> None:
    with pytest.raises(TokensError, match="line 2 is no token") as refused:
        Tokens.parse(f"{FIRST}\n{line}\n".encode())

    assert line not in str(refused.value)


@pytest.mark.parametrize("contents", [b"", b"\n\n", b"# nothing\n"])
def test_a_file_without_tokens_is_refused(contents: bytes) -> None:
    with pytest.raises(TokensError, match="no token in it"):
        Tokens.parse(contents)


def test_neither_tokens_nor_what_is_wrong_with_them_can_be_printed() -> None:
    assert FIRST not in repr(vars(Tokens([FIRST])))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("token", [FIRST, SECOND])
def test_any_of_the_tokens_lets_a_call_through(scheme: str, token: str) -> None:
    assert refusal([("x-other", "1"), ("authorization", f"{scheme} {token}")]) is None


@pytest.mark.parametrize("metadata", [(), None, [("authorization", f"Basic {FIRST}")], [("x-token", FIRST)]])
def test_a_call_without_a_token_is_told_how_to_send_one(metadata: Any) -> None:
    assert refusal(metadata) == "the call has no token: send it as metadata, 'authorization: Bearer TOKEN'"


@pytest.mark.parametrize("token", ["", FIRST[:-1], f"{FIRST}x", FIRST.upper(), "naïve"])
def test_a_wrong_token_is_refused(token: str) -> None:
    message = refusal([("authorization", f"Bearer {token}")])
    assert message == "the call's token is none of those that this server accepts"


def test_what_needs_no_token_is_a_choice() -> None:
    assert refusal(method=HEALTH) is None
    assert refusal(method="/inference.GRPCInferenceService/ServerLive") is None
    assert all(refusal(method=method) for method in REFLECTION)
    assert [refusal(method=method, exempt=["reflection"]) for method in REFLECTION] == [None, None]
    assert refusal(method=HEALTH, exempt=[])
    assert refusal(method="/inference.GRPCInferenceService/ModelInfer")
    assert refusal(method="/unknown/Method")
