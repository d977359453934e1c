"""Keeps a call whose method's name is not UTF-8 from ending the server.

grpc.aio decodes the names of methods that were not registered where it accepts calls (`_server_main_loop` in
`server.pyx.pxi`). One that can't be decoded raises there, which ends the server for good with every call that it has:
one request of anyone who can connect does it, before any interceptor. Seen with 1.76 and 1.85. Registered methods go
another way, by which core has compared the bytes, so calls of all others are accepted here and refused unread.

It takes the place of parts that are not grpc's public API. A version of grpc that has others is warned of at the start.
"""

import asyncio
import logging
from typing import Any, cast

import grpc
from grpc._cython import cygrpc

logger = logging.getLogger(__name__)

_PARTS = ("_make_request_call_future", "_request_call")

_cygrpc = cast("Any", cygrpc)
_METHOD = ""  # of which there is none, so that gRPC answers UNIMPLEMENTED


class _AioServer(_cygrpc.AioServer):  # pyright: ignore[reportUntypedBaseClass] (an extension module without stubs)
    def _make_request_call_future(self, method: bytes | None) -> Any:
        """The next call of a registered method; for None, what ends when the server does."""
        if method is not None:
            return super()._make_request_call_future(method)  # pyright: ignore[reportUnknownVariableType] (as above)
        return asyncio.get_running_loop().create_task(self._refuse_others())

    async def _refuse_others(self) -> None:
        loop = asyncio.get_running_loop()
        refusals = set[asyncio.Task[None]]()
        while True:
            call = await self._request_call()
            nothing = _cygrpc._MethodResolver([], {})
            refusal = _cygrpc._handle_rpc(_METHOD, nothing, (), call, loop, False)
            task = loop.create_task(_cygrpc._schedule_rpc_coro(refusal, call, loop, _METHOD))
            refusals.add(task)
            task.add_done_callback(refusals.discard)


def refuse_unregistered_methods() -> None:
    """Has servers that grpc.aio makes from now on refuse methods that were not registered without reading their names.

    Only `add_registered_method_handlers` makes methods known to them; generated code calls it.
    """
    if all(hasattr(_cygrpc.AioServer, part) for part in _PARTS):
        _cygrpc.AioServer = _AioServer
    else:
        logger.warning(
            "grpcio %s has no way to refuse methods whose names are not UTF-8: a call of one may end the server",
            grpc.__version__,
        )
