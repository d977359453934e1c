"""What every call gets, whichever handler answers it: a request id, errors told in one way, and observers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from google.rpc.code_pb2 import Code
from grpc.aio import AbortError, BaseError, ServerInterceptor

from vecserve_server.api.errors import log_internal, to_status
from vecserve_server.api.malformed import tolerant, wellformed
from vecserve_server.api.metadata import REQUEST_ID, AnyContext, add_trailing_metadata, request_id
from vecserve_server.telemetry.calls import UNKNOWN_METHOD, Call, CallObserver

Handler = Callable[[Any, AnyContext], Awaitable[Any]]

_CODES = {code.value[0]: code for code in grpc.StatusCode}

# What may be left of a deadline when the caller has given up for its sake, as a share of it and in seconds: gRPC tells
# servers a time of two or three digits, rounded up, which begins when they read it.
_LEFT_OF_DEADLINE, _LEFT_SECONDS = 0.05, 0.01


class CallInterceptor(ServerInterceptor):
    """Wraps the handlers of this server's own services, and every unary one."""

    def __init__(self, observer: CallObserver | None = None) -> None:
        """Takes who is told of calls; without one, calls are followed only as far as error messages need it."""
        self._observer = observer
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        if wrapped := self._wrapped.get(method):
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            self._note_unknown_method()
            return None
        self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Any, method: str) -> Any:
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._guarded(_of_wellformed(handler.unary_unary), method),
                tolerant(handler.request_deserializer),
                handler.response_serializer,
            )
        if method.startswith("/vecserve."):
            return grpc.stream_stream_rpc_method_handler(
                self._guarded(handler.stream_stream, method),
                tolerant(handler.request_deserializer),
                handler.response_serializer,
            )
        return handler

    def _guarded(self, handle: Handler, method: str) -> Handler:
        """Gives the call its id, has it observed, and turns what the handler raises into a status."""
        name = method.removeprefix("/")

        async def guarded(request: Any, context: AnyContext) -> Any:
            identity = request_id(context)
            add_trailing_metadata(context, REQUEST_ID, identity)
            call = self._begin(name, identity, context)
            try:
                return await handle(request, context)
            except AbortError:
                raise
            except NotImplementedError:  # a method that a generated servicer has and ours does not
                call.code = "UNIMPLEMENTED"
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server does not have the method")
            except asyncio.CancelledError:
                call.code = _why_cancelled(context, call)
                raise
            except Exception as error:
                await _abort(context, error, call)

        return guarded

    def _begin(self, method: str, identity: str, context: AnyContext) -> Call:
        call = Call(method, identity, self._observer or CallObserver(), context)
        call.begin()
        if self._observer:
            context.add_done_callback(lambda _: call.end())  # pyright: ignore[reportArgumentType] (the stub is no protocol)
        return call

    def _note_unknown_method(self) -> None:
        if self._observer:
            call = Call(UNKNOWN_METHOD, "", self._observer, code="UNIMPLEMENTED")
            self._observer.began(call)
            call.end()


def _of_wellformed(handle: Handler) -> Handler:
    async def handle_wellformed(request: Any, context: AnyContext) -> Any:
        return await handle(wellformed(request), context)

    return handle_wellformed


def _why_cancelled(context: AnyContext, call: Call) -> str:
    """The status that the caller has by now: gRPC cancels a handler when its deadline has passed, too."""
    left = cast("float | None", context.time_remaining())  # the stubs know no call without a deadline
    if left is None:
        return "CANCELLED"
    elapsed = call.clock() - call.began
    passed = left <= max(_LEFT_SECONDS, _LEFT_OF_DEADLINE * (left + elapsed))
    return "DEADLINE_EXCEEDED" if passed else "CANCELLED"


async def _abort(context: AnyContext, error: Exception, call: Call) -> None:
    status = to_status(error, call.request_id)
    call.failed(error, Code.Name(status.code))
    log_internal(error, call.request_id)
    details = ("grpc-status-details-bin", status.SerializeToString())
    try:
        await context.abort(_CODES[status.code], status.message, (*(context.trailing_metadata() or ()), details))
    except AbortError:  # how gRPC leaves a handler that has aborted
        raise
    except BaseError as gone:  # gRPC would log it with two tracebacks, though nobody is left to be told
        raise asyncio.CancelledError from gone
