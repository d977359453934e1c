"""Bearer tokens, without which calls are refused before their message is read."""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import grpc

from vecserve_server.api.errors import UnauthenticatedError
from vecserve_server.engine.errors import EngineError

Exempt = Literal["health", "reflection"]

# Which methods an exemption is for, by the beginnings of their names.
_METHODS: dict[Exempt, tuple[str, ...]] = {
    "health": (
        "/grpc.health.v1.Health/",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    ),
    "reflection": ("/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"),
}

# RFC 6750: what a header can carry as a bearer token.
_FORM = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_SHORTEST = 16


class TokensError(ValueError):
    """Lines that hold no tokens; the message says which and why, and never quotes them."""


class Tokens:
    """Tokens that are accepted, of which only digests are kept."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = frozenset(map(_digest, tokens))

    @classmethod
    def parse(cls, contents: bytes) -> "Tokens":
        """Reads one token a line. Empty lines, and those that begin with #, are ignored.

        Raises:
            TokensError: there are none, or a line is something else.
        """
        tokens: list[str] = []
        for number, line in enumerate(contents.decode(errors="replace").splitlines(), 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if len(line) < _SHORTEST or not _FORM.fullmatch(line):
                raise TokensError(
                    f"line {number} is no token: at least {_SHORTEST} letters, digits and -._~+/ are, with = at the end"
                )
            tokens.append(line)
        if not tokens:
            raise TokensError("there is no token in it: one a line is needed")
        return cls(tokens)

    def accepts(self, token: str) -> bool:
        """Whether it is one of them, in a time that tells nothing about any."""
        digest = _digest(token)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0  # looks at all, whichever fits

    def __str__(self) -> str:
        return f"{len(self._digests)}"


class TokenCheck:
    """Refuses calls without one of the tokens."""

    def __init__(self, tokens: Callable[[], Tokens], exempt: Sequence[Exempt]) -> None:
        """Takes what returns the tokens of the moment, and what needs none."""
        self._tokens = tokens
        self._exempt = tuple(method for name in exempt for method in _METHODS[name])

    def __call__(self, details: grpc.HandlerCallDetails) -> EngineError | None:
        if details.method.startswith(self._exempt):
            return None
        presented = _bearer_token(details.invocation_metadata)
        if presented is None:
            return UnauthenticatedError("the call has no token: send it as metadata, 'authorization: Bearer TOKEN'")
        if not self._tokens().accepts(presented):
            return UnauthenticatedError("the call's token is none of those that this server accepts")
        return None


def _bearer_token(metadata: Any) -> str | None:
    for key, value in metadata or ():
        scheme, _, token = str(value).partition(" ") if key == "authorization" else ("", "", "")
        if scheme.lower() == "bearer":
            return token.strip()
    return None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
