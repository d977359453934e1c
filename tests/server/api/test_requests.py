import pytest

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.requests import image_inputs, naming, text_inputs
from vecserve_server.engine.errors import BatchTooLargeError, InvalidInputError, Violation
from vecserve_server.models.inputs import InvalidItemsError, Truncation
from vecserve_server.models.model import ImageModel, TextModel


def violations(model: TextModel, request: pb.EmbedTextRequest) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as refusal:
        text_inputs(request, model, max_items=3)
    return {violation.field: violation.description for violation in refusal.value.violations}


def test_texts_are_taken_as_they_are(text_model: TextModel) -> None:
    request = pb.EmbedTextRequest(texts=["b", "", "a"], prompt="query", truncation=pb.TRUNCATION_START)

    inputs = text_inputs(request, text_model, max_items=3)

    assert (inputs.texts, inputs.prompt, inputs.truncation) == (["b", "", "a"], "query", Truncation.START)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (pb.TRUNCATION_UNSPECIFIED, Truncation.END),
        (pb.TRUNCATION_NONE, Truncation.NONE),
        (pb.TRUNCATION_START, Truncation.START),
        (pb.TRUNCATION_END, Truncation.END),
    ],
)
def test_each_truncation_has_its_meaning(
    text_model: TextModel, asked: pb.Truncation.ValueType, given: Truncation
) -> None:
    request = pb.EmbedTextRequest(texts=["a"], truncation=asked)

    assert text_inputs(request, text_model, max_items=3).truncation is given


def test_images_are_taken_as_they_are(image_model: ImageModel) -> None:
    request = pb.EmbedImageRequest(images=[pb.Image(content=b"b"), pb.Image(), pb.Image(content=b"a")])

    assert image_inputs(request, image_model, max_items=3).contents == [b"b", b"", b"a"]


@pytest.mark.parametrize(
    ("request_", "field", "description"),
    [
        (pb.EmbedTextRequest(), "texts", "is empty: 1 to 3 are needed"),
        (
            pb.EmbedTextRequest(texts=["a"] * 4),
            "texts",
            "has 4 items, and one call may carry at most 3: split it",
        ),
        (
            pb.EmbedTextRequest(texts=["a"], prompt="passage"),
            "prompt",
            "is 'passage', and the model's prompts are: 'query'",
        ),
        (
            pb.EmbedTextRequest(texts=["a"], truncation=9),  # pyright: ignore[reportArgumentType]
            "truncation",
            "is 9, which is none of TRUNCATION_NONE, TRUNCATION_START, TRUNCATION_END",
        ),
        (
            pb.EmbedTextRequest(texts=["a"], vector=pb.VectorOptions(dimensionality=5)),
            "vector.dimensionality",
            "is 5, and the model supports 4, 8",
        ),
        (
            pb.EmbedTextRequest(texts=["a"], vector=pb.VectorOptions(dimensionality=-4)),
            "vector.dimensionality",
            "is -4, and the model supports 4, 8",
        ),
        (
            pb.EmbedTextRequest(texts=["a"], vector=pb.VectorOptions(element_type=7)),  # pyright: ignore[reportArgumentType]
            "vector.element_type",
            "is 7, which is none of ELEMENT_TYPE_FLOAT32, ELEMENT_TYPE_FLOAT16",
        ),
        (
            pb.EmbedTextRequest(texts=["a"], vector=pb.VectorOptions(normalization=-1)),  # pyright: ignore[reportArgumentType]
            "vector.normalization",
            "is -1, which is none of NORMALIZATION_NONE, NORMALIZATION_L2",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_its_field(
    text_model: TextModel, request_: pb.EmbedTextRequest, field: str, description: str
) -> None:
    assert violations(text_model, request_) == {field: description}


def test_everything_wrong_with_a_request_is_named_at_once(text_model: TextModel) -> None:
    options = pb.VectorOptions(dimensionality=5, element_type=7, normalization=7)  # pyright: ignore[reportArgumentType]
    request = pb.EmbedTextRequest(prompt="x", truncation=9, vector=options)  # pyright: ignore[reportArgumentType]

    assert list(violations(text_model, request)) == [
        "texts",
        "truncation",
        "prompt",
        "vector.dimensionality",
        "vector.element_type",
        "vector.normalization",
    ]


def test_too_many_items_are_an_error_of_their_own(text_model: TextModel, image_model: ImageModel) -> None:
    with pytest.raises(BatchTooLargeError):
        text_inputs(pb.EmbedTextRequest(texts=["a"] * 4, prompt="x"), text_model, max_items=3)
    with pytest.raises(BatchTooLargeError):
        image_inputs(pb.EmbedImageRequest(images=[pb.Image()] * 4), image_model, max_items=3)


def test_image_requests_are_checked_alike(image_model: ImageModel) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        image_inputs(pb.EmbedImageRequest(vector=pb.VectorOptions(dimensionality=2)), image_model, max_items=3)

    assert [violation.field for violation in refusal.value.violations] == ["images", "vector.dimensionality"]


def test_refused_items_become_fields_of_the_request() -> None:
    with pytest.raises(InvalidInputError) as refusal, naming("images[{}].content"):
        raise InvalidItemsError({0: "is empty", 7: "is a broken PNG image"})

    assert refusal.value.violations == (
        Violation("images[0].content", "is empty"),
        Violation("images[7].content", "is a broken PNG image"),
    )
