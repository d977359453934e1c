"""What every call gets, whichever handler answers it: a request id, and errors told in one way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc.aio import AbortError, BaseError, ServerInterceptor

from vecserve_server.api.errors import log_internal, to_status
from vecserve_server.api.intake import Intake, is_exempt
from vecserve_server.api.malformed import parsed
from vecserve_server.api.metadata import REQUEST_ID, AnyContext, add_trailing_metadata, request_id
from vecserve_server.engine.errors import EngineError

Handler = Callable[[Any, AnyContext], Awaitable[Any]]

Check = Callable[[grpc.HandlerCallDetails], EngineError | None]
"""Says of a call that begins why it is refused, or None. No handler is asked for, and no message read, before that."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallInterceptor(ServerInterceptor):
    """Checks every call, and wraps the handlers of this server's own services, and every unary one.

    Those get bytes from gRPC and parse them here, once there is room for them.
    """

    def __init__(self, intake: Intake, checks: Sequence[Check] = ()) -> None:
        self._intake = intake
        self._checks = (*checks, intake.admit)
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        for check in self._checks:
            if refusal := check(handler_call_details):
                return _refusing(refusal)
        method = handler_call_details.method
        if wrapped := self._wrapped.get(method):
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Any, method: str) -> Any:
        if handler.unary_unary:
            handle = _parsing(handler.unary_unary, handler.request_deserializer)
            if not is_exempt(method):
                handle = self._holding(handle)
            return grpc.unary_unary_rpc_method_handler(_guarded(handle), bytes, handler.response_serializer)
        if method.startswith("/vecserve."):  # it parses by itself, message by message
            return grpc.stream_stream_rpc_method_handler(
                _guarded(handler.stream_stream), bytes, handler.response_serializer
            )
        return handler

    def _holding(self, handle: Handler) -> Handler:
        async def hold_and_handle(data: bytes, context: AnyContext) -> Any:
            with self._intake.holding(len(data)):
                return await handle(data, context)

        return hold_and_handle


def _parsing(handle: Handler, parse: Callable[[bytes], Any]) -> Handler:
    async def parse_and_handle(data: bytes, context: AnyContext) -> Any:
        return await handle(parsed(parse, data), context)

    return parse_and_handle


def _refusing(refusal: EngineError) -> Any:
    """A handler for calls of any kind. It is that of a stream, for which gRPC reads no message by itself."""

    async def refuse(_requests: Any, _context: AnyContext) -> None:
        raise refusal

    return grpc.stream_stream_rpc_method_handler(_guarded(refuse), bytes, bytes)


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
