"""A grpc.aio server with methods that answer, fail, sleep and send much, for loads to be put on."""

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Never

import grpc
import grpc.aio
from google.rpc.status_pb2 import Status

from vecserve.v1 import embedding_service_pb2 as pb

ECHO = "/loadtest.Target/Echo"
FAIL = "/loadtest.Target/Fail"
FAIL_AFTER_DATA = "/loadtest.Target/FailAfterData"
SLEEP = "/loadtest.Target/Sleep"
DIGEST = "/loadtest.Target/Digest"
ZEROS = "/loadtest.Target/Zeros"
STREAM = "/loadtest.Target/Stream"

Option = tuple[str, int]
_Context = grpc.aio.ServicerContext[bytes, bytes]
_StreamContext = grpc.aio.ServicerContext[pb.StreamEmbedRequest, pb.StreamEmbedResponse]


class Target:
    """The handlers, and what they saw."""

    def __init__(self) -> None:
        self.address = ""
        self.metadata: list[dict[str, str | bytes]] = []
        self.messages: list[bytes] = []
        self.cancelled = 0
        self.open = asyncio.Event()
        """Echo answers while this is set."""
        self.open.set()

    async def echo(self, request: bytes, context: _Context) -> bytes:
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.messages.append(request)
        await self.open.wait()
        context.set_trailing_metadata((("server-timing", f"infer;dur={len(request)}"),))
        return request

    async def fail(self, request: bytes, context: _Context) -> Never:
        """The request is the number of the status."""
        code = next(code for code in grpc.StatusCode if code.value[0] == int(request))
        await context.abort(code, f"Failure nº {int(request)}")

    async def fail_after_data(self, request: bytes, context: _Context) -> AsyncIterator[bytes]:
        yield request
        await context.abort(grpc.StatusCode.DATA_LOSS, "the rest is lost")

    async def sleep(self, request: bytes, context: _Context) -> bytes:
        """The request is the number of seconds."""
        try:
            await asyncio.sleep(float(request))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return request

    async def digest(self, request: bytes, context: _Context) -> bytes:
        return hashlib.sha256(request).digest()

    async def zeros(self, request: bytes, context: _Context) -> bytes:
        """The request is the number of bytes."""
        return bytes(int(request))

    async def stream(
        self, requests: AsyncIterator[pb.StreamEmbedRequest], context: _StreamContext
    ) -> AsyncIterator[pb.StreamEmbedResponse]:
        """Answers two at a time, the later first, with a text's number of bytes; fails those that say so."""
        waiting: list[pb.StreamEmbedRequest] = []
        async for request in requests:
            (text,) = request.text.texts
            self.messages.append(text.encode())
            if text == "end":
                await context.abort(grpc.StatusCode.ABORTED, "the stream is over")
            waiting.append(request)
            if len(waiting) == 2 or text == "now":
                while waiting:
                    yield _answer(waiting.pop())


def _answer(request: pb.StreamEmbedRequest) -> pb.StreamEmbedResponse:
    (text,) = request.text.texts
    if text == "fail":
        error = Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no model nº 1")
        return pb.StreamEmbedResponse(id=request.id, error=error)
    embedding = pb.Embedding(values=text.encode())
    return pb.StreamEmbedResponse(id=request.id, text=pb.EmbedTextResponse(embeddings=[embedding]))


@contextlib.asynccontextmanager
async def serving(port: int = 0, options: Sequence[Option] = (), path: str = "") -> AsyncGenerator[Target, None]:
    """Serve on a port, on a free one, or on a Unix socket, until the block ends."""
    target = Target()
    server = grpc.aio.server(options=list({"grpc.max_receive_message_length": 64 * 2**20, **dict(options)}.items()))
    unary = grpc.unary_unary_rpc_method_handler
    handlers = {
        "Echo": unary(target.echo),
        "Fail": unary(target.fail),
        "FailAfterData": grpc.unary_stream_rpc_method_handler(target.fail_after_data),
        "Sleep": unary(target.sleep),
        "Digest": unary(target.digest),
        "Zeros": unary(target.zeros),
        "Stream": grpc.stream_stream_rpc_method_handler(
            target.stream,
            request_deserializer=pb.StreamEmbedRequest.FromString,
            response_serializer=pb.StreamEmbedResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("loadtest.Target", handlers),))
    if path:
        target.address = f"unix:{path}"
        server.add_insecure_port(target.address)
    else:
        target.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield target
    finally:
        await server.stop(None)


async def serve_forever(port: int) -> Never:
    async with serving(port) as target:
        print(target.address, flush=True)
        await asyncio.Event().wait()
    raise AssertionError


if __name__ == "__main__":
    # Importing takes longer than anything else: a process can be started ahead, and told its port when it is needed.
    asyncio.run(serve_forever(int(sys.stdin.readline())))
