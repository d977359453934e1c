"""Requests checked and turned into the engine's inputs. Pure.

Every check adds to one list, so that a refusal names everything that is wrong.
"""

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
    texts = list(request.texts)
    violations: list[Violation] = []
    check_count(violations, "texts", len(texts), max_items)
    _check_enum(violations, "truncation", request.truncation, pb.Truncation.DESCRIPTOR)
    _check_prompt(violations, request.prompt, model.spec.prompts)
    _check_vector(violations, request.vector, model.manifest.supported_dimensionalities)
    refuse(violations, len(texts) > max_items)
    return TextInputs(texts, _TRUNCATIONS[request.truncation], request.prompt)


def image_inputs(request: pb.EmbedImageRequest, model: ImageModel, max_items: int) -> ImageInputs:
    """The encoded images of a request; as `text_inputs`."""
    violations: list[Violation] = []
    check_count(violations, "images", len(request.images), max_items)
    _check_vector(violations, request.vector, model.manifest.supported_dimensionalities)
    refuse(violations, len(request.images) > max_items)
    return ImageInputs([image.content for image in request.images])


class naming:  # noqa: N801 (read as a statement: `with naming("texts[{}]"):`)
    """Has items that preprocessing refuses in the block named as fields of the request, by a format of their index.

    Raises:
        InvalidInputError: in place of `InvalidItemsError`.
    """

    __slots__ = ("_field",)

    def __init__(self, field: str) -> None:
        self._field = field

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InvalidItemsError):
            violations = [Violation(self._field.format(index), why) for index, why in error.problems.items()]
            raise InvalidInputError(violations) from error


def refuse(violations: list[Violation], too_large: bool) -> None:
    """Raises `InvalidInputError` if there are violations, and `BatchTooLargeError` if too many items are among them."""
    if violations:
        raise (BatchTooLargeError if too_large else InvalidInputError)(violations)


def check_count(violations: list[Violation], field: str, count: int, max_items: int) -> None:
    """Adds what is wrong with the number of items in a field."""
    if count == 0:
        violations.append(Violation(field, f"is empty: 1 to {max_items} are needed"))
    if count > max_items:
        description = f"has {count} items, and one call may carry at most {max_items}: split it"
        violations.append(Violation(field, description))


def _check_enum(violations: list[Violation], field: str, value: int, enum: EnumDescriptor) -> None:
    if value and value not in enum.values_by_number:
        names = ", ".join(known.name for known in enum.values if known.number)
        violations.append(Violation(field, f"is {value}, which is none of {names}"))


def _check_prompt(violations: list[Violation], prompt: str, prompts: dict[str, str]) -> None:
    if prompt and prompt not in prompts:
        names = ", ".join(f"'{name}'" for name in prompts) or "none"
        violations.append(Violation("prompt", f"is '{prompt}', and the model's prompts are: {names}"))


def _check_vector(violations: list[Violation], options: pb.VectorOptions, dimensionalities: tuple[int, ...]) -> None:
    if options.dimensionality and options.dimensionality not in dimensionalities:
        allowed = ", ".join(map(str, dimensionalities))
        description = f"is {options.dimensionality}, and the model supports {allowed}"
        violations.append(Violation("vector.dimensionality", description))
    _check_enum(violations, "vector.element_type", options.element_type, pb.ElementType.DESCRIPTOR)
    _check_enum(violations, "vector.normalization", options.normalization, pb.Normalization.DESCRIPTOR)
