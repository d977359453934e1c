"""What every call gets, whichever handler answers it: a request id, and errors told in one way."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc.aio import AbortError, BaseError

from vecserve_server.api.errors import log_internal, to_status
from vecserve_server.api.malformed import tolerant, wellformed
from vecserve_server.api.metadata import REQUEST_ID, AnyContext, add_trailing_metadata, request_id

Handler = Callable[[Any, AnyContext], Awaitable[Any]]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def wrap_call(method: str, handler: Any) -> Any:
    return _wrap(handler, own=method.startswith("/vecserve."))


def _wrap(handler: Any, *, own: bool) -> Any:
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(
            _unary(handler.unary_unary), tolerant(handler.request_deserializer), handler.response_serializer
        )
    if own:
        return grpc.stream_stream_rpc_method_handler(
            _guarded(handler.stream_stream), tolerant(handler.request_deserializer), handler.response_serializer
        )
    return handler


def _unary(handle: Handler) -> Handler:
    async def handle_wellformed(request: Any, context: AnyContext) -> Any:
        return await handle(wellformed(request), context)

    return _guarded(handle_wellformed)


def _guarded(handle: Handler) -> Handler:
    """Gives the call its id, and turns what the handler raises into a status."""

    async def guarded(request: Any, context: AnyContext) -> Any:
        identity = request_id(context)
        add_trailing_metadata(context, REQUEST_ID, identity)
        try:
            return await handle(request, context)
        except AbortError:
            raise
        except NotImplementedError:  # a method that a generated servicer has and ours does not
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server does not have the method")
        except Exception as error:
            await _abort(context, error, identity)

    return guarded


async def _abort(context: AnyContext, error: Exception, identity: str) -> None:
    log_internal(error, identity)
    status = to_status(error, identity)
    details = ("grpc-status-details-bin", status.SerializeToString())
    try:
        await context.abort(_CODES[status.code], status.message, (*(context.trailing_metadata() or ()), details))
    except AbortError:  # how gRPC leaves a handler that has aborted
        raise
    except BaseError as gone:  # gRPC would log it with two tracebacks, though nobody is left to be told
        raise asyncio.CancelledError from gone
