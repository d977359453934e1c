"""Writes a request as HTTP/2 carries it, for tools that know nothing of protobuf.

    python grpc_frame.py vecserve.v1.EmbeddingService/EmbedText '{"texts": ["a cat"]}' > text.grpc

It needs protobuf, and the .protoset beside the protos. Bytes are base64 in JSON.
"""

import struct
import sys
from pathlib import Path

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet

PROTOSET = Path(__file__).parents[2] / "protos" / "vecserve.protoset"


def frame(method: str, request: str) -> bytes:
    """A request in JSON as gRPC's length-prefixed message: no compression, four bytes of length, the message."""
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString(PROTOSET.read_bytes()).file:
        pool.Add(file)
    request_type = message_factory.GetMessageClass(pool.FindMethodByName(method.replace("/", ".")).input_type)
    message = json_format.Parse(request, request_type()).SerializeToString()
    return struct.pack(">?I", False, len(message)) + message


if __name__ == "__main__":
    sys.stdout.buffer.write(frame(*sys.argv[1:]))
