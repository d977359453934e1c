"""What each kind of model takes in place of a typed request."""

from collections.abc import Iterable

from vecserve_server.api.oip.tensors import TensorSpec
from vecserve_server.models.manifest import ImageInput
from vecserve_server.models.model import AnyModel, TextModel

Signature = tuple[TensorSpec, ...]
"""Tensors that go together. Of the first, each item is an input of the engine."""

OUTPUT = "embedding"

_BYTES = {"BYTES": ((1,), ())}
_TOKENS = {"INT64": ((None,),), "INT32": ((None,),)}

_TEXT = (TensorSpec("text", _BYTES),)
_TOKENIZED = (TensorSpec("input_ids", _TOKENS), TensorSpec("attention_mask", _TOKENS))
_IMAGE = (TensorSpec("image", _BYTES),)


def signatures(model: AnyModel) -> tuple[Signature, ...]:
    """What the model takes, that which it is described with first."""
    if isinstance(model, TextModel):
        return _TEXT, _TOKENIZED
    return _IMAGE, _pixels(model.spec)


def in_words(signature: Iterable[TensorSpec]) -> str:
    """Names, datatypes and shapes."""
    return " with ".join(map(str, signature))


def _pixels(spec: ImageInput) -> Signature:
    edge = spec.crop_size
    return (TensorSpec("pixel_values", {"UINT8": ((edge, edge, 3),), "FP32": ((3, edge, edge),)}),)
