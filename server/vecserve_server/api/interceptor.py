"""What every call gets, whichever handler answers it: a request id, and errors told in one way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc.aio import AbortError, BaseError, ServerInterceptor

from vecserve_server.api.errors import log_internal, to_status
from vecserve_server.api.malformed import tolerant, wellformed
from vecserve_server.api.metadata import REQUEST_ID, AnyContext, add_trailing_metadata, request_id

Handler = Callable[[Any, AnyContext], Awaitable[Any]]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallInterceptor(ServerInterceptor):
    """Wraps the handlers of all services, and knows which calls of this server's own are under way."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}
        self._calls = set[AnyContext]()
        self._ended = asyncio.Event()

    async def answered(self, seconds: float) -> None:
        """Waits until what is under way now has been answered and sent, but no longer than so many seconds."""
        calls = self._calls.copy()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while calls & self._calls:
                    self._ended.clear()
                    await self._ended.wait()

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        if wrapped := self._wrapped.get(method):
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Any, method: str) -> Any:
        read, write = tolerant(handler.request_deserializer), handler.response_serializer
        # As a stream of requests, though there is one: gRPC never answers a unary call that ends without its message.
        if handler.unary_unary:
            handle = self._counted(_guarded(_unary(handler.unary_unary)))
            return grpc.stream_unary_rpc_method_handler(handle, read, write)
        if handler.unary_stream:
            return grpc.stream_stream_rpc_method_handler(_guarded(_unary(handler.unary_stream)), read, write)
        if method.startswith("/vecserve."):
            return grpc.stream_stream_rpc_method_handler(self._counted(_guarded(handler.stream_stream)), read, write)
        return grpc.stream_stream_rpc_method_handler(_guarded(_written(handler.stream_stream)), read, write)

    def _counted(self, handle: Handler) -> Handler:
        """Keeps the call in mind until its status has been sent; health watches and reflection never end."""

        async def counted(request: Any, context: AnyContext) -> Any:
            self._calls.add(context)
            context.add_done_callback(self._forget)  # pyright: ignore[reportArgumentType] (the stubs take no context)
            return await handle(request, context)

        return counted

    def _forget(self, context: AnyContext) -> None:
        self._calls.discard(context)
        self._ended.set()


def _unary(handle: Handler) -> Handler:
    async def handle_one(_: Any, context: AnyContext) -> Any:
        return await handle(wellformed(await context.read()), context)

    return handle_one


def _written(generate: Callable[[Any, AnyContext], AsyncIterator[Any]]) -> Handler:
    """The handler of a service of gRPC's own, which knows no malformed requests and yields its responses."""

    async def handle_many(requests: AsyncIterator[Any], context: AnyContext) -> None:
        async for response in generate((wellformed(request) async for request in requests), context):
            await context.write(response)

    return handle_many


def _guarded(handle: Handler) -> Handler:
    """Gives the call its id, and turns what the handler raises into a status."""

    async def guarded(request: Any, context: AnyContext) -> Any:
        identity = request_id(context)
        add_trailing_metadata(context, REQUEST_ID, identity)
        try:
            return await handle(request, context)
        except BaseError:  # gRPC's own: the call was aborted, or its caller is gone
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
