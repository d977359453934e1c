"""Requests checked and turned into the engine's inputs. Pure.

Every check adds to a list, so that a refusal names everything that is wrong.
"""

from collections.abc import Iterator

from google.protobuf.descriptor import EnumDescriptor

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.engine.errors import BatchTooLargeError, InvalidInputError, Violation
from vecserve_server.models.inputs import ImageInputs, InvalidItemsError, TextInputs, Truncation
from vecserve_server.models.model import ImageModel, TextModel

_TRUNCATIONS = {
    pb.TRUNCATION_UNSPECIFIED: Truncation.END,
    pb.TRUNCATION_NONE: Truncation.NONE,
    pb.TRUNCATION_START: Truncation.START,
    pb.TRUNCATION_END: Truncation.END,
}


def text_inputs(request: pb.EmbedTextRequest, model: TextModel, max_items: int) -> TextInputs:
    """The texts of a request and how to read them.

    Raises:
        InvalidInputError: names every field whose value is not allowed. The texts themselves are not read yet.
    """
    violations = [
        *_count_violations("texts", len(request.texts), max_items),
        *_enum_violations("truncation", request.truncation, pb.Truncation.DESCRIPTOR),
        *_prompt_violations(request.prompt, model.spec.prompts),
        *_vector_violations(request.vector, model.manifest.supported_dimensionalities),
    ]
    _refuse(violations, len(request.texts) > max_items)
    return TextInputs(list(request.texts), _TRUNCATIONS[request.truncation], request.prompt)


def image_inputs(request: pb.EmbedImageRequest, model: ImageModel, max_items: int) -> ImageInputs:
    """The encoded images of a request; as `text_inputs`."""
    violations = [
        *_count_violations("images", len(request.images), max_items),
        *_vector_violations(request.vector, model.manifest.supported_dimensionalities),
    ]
    _refuse(violations, len(request.images) > max_items)
    return ImageInputs([image.content for image in request.images])


def invalid_items(error: InvalidItemsError, field: str) -> InvalidInputError:
    """The items that preprocessing refused, as fields of the request: `field` is a format of the index."""
    return InvalidInputError([Violation(field.format(index), why) for index, why in error.problems.items()])


def _refuse(violations: list[Violation], too_large: bool) -> None:
    if violations:
        raise (BatchTooLargeError if too_large else InvalidInputError)(violations)


def _count_violations(field: str, count: int, max_items: int) -> Iterator[Violation]:
    if count == 0:
        yield Violation(field, f"is empty: 1 to {max_items} are needed")
    if count > max_items:
        yield Violation(field, f"has {count} items, and one call may carry at most {max_items}: split it")


def _enum_violations(field: str, value: int, enum: EnumDescriptor) -> Iterator[Violation]:
    if value not in enum.values_by_number:
        names = ", ".join(known.name for known in enum.values if known.number)
        yield Violation(field, f"is {value}, which is none of {names}")


def _prompt_violations(prompt: str, prompts: dict[str, str]) -> Iterator[Violation]:
    if prompt and prompt not in prompts:
        names = ", ".join(f"'{name}'" for name in prompts) or "none"
        yield Violation("prompt", f"is '{prompt}', and the model's prompts are: {names}")


def _vector_violations(options: pb.VectorOptions, dimensionalities: tuple[int, ...]) -> Iterator[Violation]:
    if options.dimensionality and options.dimensionality not in dimensionalities:
        allowed = ", ".join(map(str, dimensionalities))
        yield Violation("vector.dimensionality", f"is {options.dimensionality}, and the model supports {allowed}")
    yield from _enum_violations("vector.element_type", options.element_type, pb.ElementType.DESCRIPTOR)
    yield from _enum_violations("vector.normalization", options.normalization, pb.Normalization.DESCRIPTOR)
