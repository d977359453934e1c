"""gRPC over HTTP/2 on asyncio, for servers whose calls are cheap beside what grpcio takes for one.

It follows gRPC's protocol over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), RFC 9113 and
RFC 7541. Handlers are those of grpcio's generated code, and get a context with the part of `grpc.aio.ServicerContext`
that they use.
"""
