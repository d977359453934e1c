"""The Open Inference Protocol's messages, as far as a load needs them: https://github.com/kserve/open-inference-protocol.

Names and numbers of fields are the protocol's. They are in a pool of their own, so that stubs of the whole protocol, of
which a process can hold but one copy, don't collide with them.
"""

from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE: Final = "/inference.GRPCInferenceService"

_TYPES = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
}

# "*" after a type: repeated.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "string*"),
        "platform": (3, "string"),
        "inputs": (4, "TensorMetadata*"),
        "outputs": (5, "TensorMetadata*"),
    },
    "TensorMetadata": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")},
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "inputs": (5, "InferTensor*"),
        "outputs": (6, "InferRequestedOutputTensor*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "InferTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "int64*"),
        "contents": (5, "InferTensorContents"),
    },
    "InferTensorContents": {"fp32_contents": (6, "float*"), "bytes_contents": (8, "bytes*")},
    "InferRequestedOutputTensor": {"name": (1, "string")},
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "outputs": (5, "InferTensor*"),
        "raw_output_contents": (6, "bytes*"),
    },
}


def _descriptor(name: str, fields: dict[str, tuple[int, str]]) -> DescriptorProto:
    message = DescriptorProto(name=name)
    for field_name, (number, kind) in fields.items():
        repeated = kind.endswith("*")
        label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
        field = message.field.add(name=field_name, number=number, label=label)
        plain = kind.removesuffix("*")
        if plain in _TYPES:
            field.type = _TYPES[plain]
        else:
            field.type = FieldDescriptorProto.TYPE_MESSAGE
            field.type_name = f".inference.{plain}"
    return message


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="inference.proto", package="inference", syntax="proto3")
    file.message_type.extend(_descriptor(name, fields) for name, fields in _MESSAGES.items())
    pool = DescriptorPool()
    pool.Add(file)  # pyright: ignore[reportAttributeAccessIssue] - the stubs know only AddSerializedFile
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}")) for name in _MESSAGES}


_BY_NAME = _classes()

# Any: what is made at run time has no stubs.
ModelMetadataRequest: Any = _BY_NAME["ModelMetadataRequest"]
ModelMetadataResponse: Any = _BY_NAME["ModelMetadataResponse"]
ModelInferRequest: Any = _BY_NAME["ModelInferRequest"]
ModelInferResponse: Any = _BY_NAME["ModelInferResponse"]
