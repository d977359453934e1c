"""What every call gets, whichever handler answers it: checks, a request id, errors told in one way, and observers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import grpc
from grpc.aio import AbortError

from vecserve_server.api.errors import log_internal, to_answer
from vecserve_server.api.intake import Intake, is_exempt
from vecserve_server.api.malformed import parsed
from vecserve_server.api.metadata import REQUEST_ID, AnyContext, add_trailing_metadata, request_id
from vecserve_server.engine.errors import EngineError
from vecserve_server.telemetry.calls import UNKNOWN_METHOD, Call, CallObserver
from vecserve_wire.details import Answer, Details
from vecserve_wire.headers import Metadata
from vecserve_wire.server import Find

Handler = Callable[[Any, AnyContext], Awaitable[Any]]

Check = Callable[[Details], EngineError | None]
"""Says of a call that begins why it is refused, or None. No handler runs, and no message is read, before that."""

_STATUS = "grpc-status-details-bin"

_CODES = {code.value[0]: code for code in grpc.StatusCode}

# What may be left of a deadline when the caller has given up for its sake, as a share of it and in seconds: clients
# tell a time of two or three digits, rounded up, which begins when it is read.
_LEFT_OF_DEADLINE, _LEFT_SECONDS = 0.05, 0.01


class CallInterceptor:
    """Checks every call, and wraps the handlers of this server's own services, and every unary one.

    Those get bytes and parse them here, once there is room for them. They may answer with bytes too: a response that
    they have serialized themselves.
    """

    def __init__(self, intake: Intake, checks: Sequence[Check] = (), observer: CallObserver | None = None) -> None:
        """Takes what is asked of calls before they begin, and who is told of them.

        Without an observer, calls are followed only as far as error messages need it.
        """
        self._intake = intake
        self._checks = (*checks, intake.admit)
        self._observer = observer
        self._wrapped: dict[str, Any] = {}

    def __call__(self, details: Details, find: Find) -> Any | None:
        """What answers a call that begins."""
        method = details.method
        for check in self._checks:
            if refusal := check(details):
                handler = self._wrapped.get(method) or find(details)
                streams = bool(handler and handler.request_streaming)
                return self._refuse(refusal, details, method if handler else UNKNOWN_METHOD, waits=streams)
        if wrapped := self._wrapped.get(method):
            return wrapped
        handler = find(details)
        if handler is None:
            self._note_unknown_method()
            return None
        self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Any, method: str) -> Any:
        if handler.unary_unary:
            parse_and_handle = _parsing if is_exempt(method) else self._holding
            handle = parse_and_handle(handler.unary_unary, handler.request_deserializer)
            return grpc.unary_unary_rpc_method_handler(
                self._guarded(handle, method), bytes, _serializing(handler.response_serializer)
            )
        if method.startswith("/vecserve."):  # it parses by itself, message by message
            return grpc.stream_stream_rpc_method_handler(
                self._guarded(handler.stream_stream, method), bytes, _serializing(handler.response_serializer)
            )
        return handler

    def _holding(self, handle: Handler, parse: Callable[[bytes], Any]) -> Handler:
        intake = self._intake

        async def hold_and_handle(data: bytes, context: AnyContext) -> Any:
            size = len(data)
            intake.hold(size)
            try:
                return await handle(parsed(parse, data), context)
            finally:
                intake.release(size)

        return hold_and_handle

    def _refuse(self, refusal: EngineError, details: Details, method: str, *, waits: bool) -> Answer:
        identity = request_id(details.invocation_metadata)
        code, message, status = to_answer(refusal, identity)
        if self._observer:
            call = Call(method.removeprefix("/"), identity, self._observer, _Unheard(details))
            call.failed(refusal, _CODES[code].name)
            call.pass_by()
        return Answer(code, message, ((_STATUS, status),), ((REQUEST_ID, identity),), waits)

    def _guarded(self, handle: Handler, method: str) -> Handler:
        """Gives the call its id, has it observed, and turns what the handler raises into a status."""
        name = method.removeprefix("/")

        async def guarded(request: Any, context: AnyContext) -> Any:
            identity = request_id(context.invocation_metadata() or ())
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
        context.add_done_callback(lambda _: call.end())  # pyright: ignore[reportArgumentType] (the stub is no protocol)
        return call

    def _note_unknown_method(self) -> None:
        if self._observer:
            Call(UNKNOWN_METHOD, "", self._observer, code="UNIMPLEMENTED").pass_by()


class _Unheard:
    """Whoever made a call that no handler gets."""

    __slots__ = ("_details",)

    def __init__(self, details: Details) -> None:
        self._details = details

    def invocation_metadata(self) -> Metadata:
        return self._details.invocation_metadata

    def peer(self) -> str:
        return self._details.peer


def _parsing(handle: Handler, parse: Callable[[bytes], Any]) -> Handler:
    async def parse_and_handle(data: bytes, context: AnyContext) -> Any:
        return await handle(parsed(parse, data), context)

    return parse_and_handle


def _serializing(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    def serialize_unless_done(response: Any) -> bytes:
        return response if isinstance(response, bytes) else serialize(response)

    return serialize_unless_done


def _why_cancelled(context: AnyContext, call: Call) -> str:
    """The status that the caller has by now: of its deadline it may tell us by giving up, a moment before we know."""
    if told := context.code():
        return told.name
    left = cast("float | None", context.time_remaining())  # the stubs know no call without a deadline
    if left is None:
        return "CANCELLED"
    elapsed = call.clock() - call.began
    passed = left <= max(_LEFT_SECONDS, _LEFT_OF_DEADLINE * (left + elapsed))
    return "DEADLINE_EXCEEDED" if passed else "CANCELLED"


async def _abort(context: AnyContext, error: Exception, call: Call) -> None:
    code, message, status = to_answer(error, call.request_id)
    call.failed(error, _CODES[code].name)
    log_internal(error, call.request_id)
    await context.abort(_CODES[code], message, (*(context.trailing_metadata() or ()), (_STATUS, status)))
