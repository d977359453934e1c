from typing import Any

import numpy as np
import pytest

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.v1 import embedding_service_pb2 as vecserve_pb
from vecserve_server.api.oip.inference import read_request, to_inputs, to_response
from vecserve_server.api.vectors import VectorEncoding
from vecserve_server.engine.engine import Embeddings
from vecserve_server.engine.errors import BatchTooLargeError, InvalidInputError
from vecserve_server.engine.timings import Timings
from vecserve_server.models.inputs import (
    AnyInputs,
    ImageInputs,
    InvalidItemsError,
    PixelInputs,
    TextInputs,
    TokenInputs,
    Truncation,
)
from vecserve_server.models.model import AnyModel, ImageModel, TextModel

Tensor = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor


def tensor(name: str, datatype: str, *shape: int, **contents: Any) -> Tensor:
    given = pb.InferTensorContents(**contents) if contents else None
    return Tensor(name=name, datatype=datatype, shape=shape, contents=given)


def texts(*contents: bytes) -> Tensor:
    return tensor("text", "BYTES", len(contents), 1, bytes_contents=contents)


def inputs(model: AnyModel, request: pb.ModelInferRequest) -> AnyInputs:
    return to_inputs(*read_request(request, model, max_items=3))


def violations(model: AnyModel, request: pb.ModelInferRequest) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as refusal:
        read_request(request, model, max_items=3)
    return {violation.field: violation.description for violation in refusal.value.violations}


def test_texts_become_texts(text_model: TextModel) -> None:
    request = pb.ModelInferRequest(
        inputs=[texts(b"the cat", "猫".encode(), b"")],
        parameters={
            "truncation": pb.InferParameter(string_param="none"),
            "prompt": pb.InferParameter(string_param="query"),
        },
    )

    assert inputs(text_model, request) == TextInputs(["the cat", "猫", ""], Truncation.NONE, "query")


def test_tokens_become_tokens_in_whichever_order_they_come(text_model: TextModel) -> None:
    ids = tensor("input_ids", "INT64", 1, 3, int64_contents=[2, 7, 3])
    mask = tensor("attention_mask", "INT32", 1, 3, int_contents=[1, 1, 0])

    for given in ([ids, mask], [mask, ids]):
        tokens = inputs(text_model, pb.ModelInferRequest(inputs=given))
        assert isinstance(tokens, TokenInputs)
        assert (tokens.ids.tolist(), tokens.mask.tolist()) == ([[2, 7, 3]], [[1, 1, 0]])


def test_items_are_named_by_the_ids_and_not_by_the_mask(text_model: TextModel) -> None:
    mask = tensor("attention_mask", "INT64", 1, 1, int64_contents=[1])
    ids = tensor("input_ids", "INT64", 1, 1, int64_contents=[7])

    tensors, _ = read_request(pb.ModelInferRequest(inputs=[mask, ids]), text_model, max_items=3)

    assert list(tensors) == ["input_ids", "attention_mask"]


def test_encoded_images_become_images(image_model: ImageModel) -> None:
    request = pb.ModelInferRequest(inputs=[tensor("image", "BYTES", 2)], raw_input_contents=[b"\1\0\0\0x\0\0\0\0"])

    assert inputs(image_model, request) == ImageInputs([b"x", b""])


@pytest.mark.parametrize(("datatype", "shape", "dtype"), [("UINT8", (2, 8, 8, 3), "u1"), ("FP32", (2, 3, 8, 8), "<f4")])
def test_pixels_become_pixels(image_model: ImageModel, datatype: str, shape: tuple[int, ...], dtype: str) -> None:
    pixels = np.arange(2 * 3 * 8 * 8).reshape(shape).astype(dtype)
    request = pb.ModelInferRequest(
        inputs=[tensor("pixel_values", datatype, *shape)], raw_input_contents=[pixels.tobytes()]
    )

    given = inputs(image_model, request)

    assert isinstance(given, PixelInputs)
    assert given.pixels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(given.pixels, pixels)


def test_texts_that_are_not_utf8_are_named(text_model: TextModel) -> None:
    request = pb.ModelInferRequest(inputs=[texts(b"\xff", b"cat", b"a\xc3")])

    with pytest.raises(InvalidItemsError) as refusal:
        inputs(text_model, request)

    assert refusal.value.problems == {
        0: "is not UTF-8: invalid start byte at byte 0",
        2: "is not UTF-8: unexpected end of data at byte 1",
    }


TAKEN = (
    "and the model takes text (BYTES [n, 1] or [n]); or input_ids (INT64 [n, s], or INT32 [n, s]) with attention_mask "
    "(INT64 [n, s], or INT32 [n, s])"
)


@pytest.mark.parametrize(
    ("names", "given"),
    [
        ([], "are empty"),
        (["image"], "are 'image'"),
        (["input_ids"], "are 'input_ids'"),
        (["text", "text"], "are 'text', 'text'"),
        (["text", "input_ids"], "are 'input_ids', 'text'"),
        (["input_ids", "attention_mask", "token_type_ids"], "are 'attention_mask', 'input_ids', 'token_type_ids'"),
    ],
)
def test_other_inputs_are_refused_with_what_the_model_takes(
    text_model: TextModel, names: list[str], given: str
) -> None:
    request = pb.ModelInferRequest(inputs=[Tensor(name=name) for name in names])

    assert violations(text_model, request) == {"inputs": f"{given}, {TAKEN}"}


def test_an_image_model_tells_its_own_pixels(image_model: ImageModel) -> None:
    told = violations(image_model, pb.ModelInferRequest(inputs=[Tensor(name="text")]))

    assert told["inputs"].endswith(
        "takes image (BYTES [n, 1] or [n]); or pixel_values (UINT8 [n, 8, 8, 3], or FP32 [n, 3, 8, 8])"
    )


def test_a_mask_of_another_shape_is_refused(text_model: TextModel) -> None:
    ids = tensor("input_ids", "INT64", 1, 3, int64_contents=[2, 7, 3])
    mask = tensor("attention_mask", "INT64", 1, 2, int64_contents=[1, 1])

    assert violations(text_model, pb.ModelInferRequest(inputs=[mask, ids])) == {
        "inputs.attention_mask.shape": "is [1, 2], and that of input_ids is [1, 3]"
    }


def test_raw_contents_for_some_of_the_inputs_are_refused(text_model: TextModel) -> None:
    ids, mask = tensor("input_ids", "INT64", 1, 1), tensor("attention_mask", "INT64", 1, 1)
    request = pb.ModelInferRequest(inputs=[ids, mask], raw_input_contents=[bytes(8)])

    assert violations(text_model, request) == {
        "raw_input_contents": "has 1 elements, and there are 2 inputs: each needs one"
    }


def test_raw_contents_beside_contents_are_refused(text_model: TextModel) -> None:
    request = pb.ModelInferRequest(inputs=[texts(b"cat")], raw_input_contents=[b"\3\0\0\0cat"])

    assert violations(text_model, request) == {
        "inputs.text.contents": "is set, and so is raw_input_contents: send either for all inputs"
    }


def test_other_outputs_are_refused(text_model: TextModel) -> None:
    classes = pb.InferParameter(int64_param=3)
    outputs = [
        Output(name="embedding"),
        Output(name="logits"),
        Output(name="embedding", parameters={"classification": classes}),
    ]

    assert violations(text_model, pb.ModelInferRequest(inputs=[texts(b"cat")], outputs=outputs)) == {
        "outputs[1].name": "is 'logits', and the only one is 'embedding'",
        "outputs[2].parameters": "are classification, and none is supported",
    }


def test_of_very_many_outputs_only_their_number_is_told(text_model: TextModel) -> None:
    request = pb.ModelInferRequest(inputs=[texts(b"cat")], outputs=[Output(name="x")] * 1000)

    assert violations(text_model, request) == {"outputs": "are 1000, and the only one is 'embedding'"}


def test_everything_wrong_with_a_request_is_named_at_once(text_model: TextModel) -> None:
    request = pb.ModelInferRequest(
        inputs=[tensor("text", "BYTES", 2, 2)], outputs=[Output(name="x")], parameters={"x": pb.InferParameter()}
    )

    assert list(violations(text_model, request)) == ["parameters.x", "outputs[0].name", "inputs.text.shape"]


def test_too_many_items_are_an_error_of_their_own(text_model: TextModel) -> None:
    with pytest.raises(BatchTooLargeError):
        read_request(pb.ModelInferRequest(inputs=[texts(b"a", b"b", b"c", b"d")]), text_model, max_items=3)


def embeddings(vectors: Any) -> Embeddings:
    return Embeddings([np.array(vector, "<f4").tobytes() for vector in vectors], [], Timings(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("element_type", "datatype", "dtype"),
    [(vecserve_pb.ELEMENT_TYPE_FLOAT32, "FP32", "<f4"), (vecserve_pb.ELEMENT_TYPE_FLOAT16, "FP16", "<f2")],
)
def test_vectors_become_one_tensor(
    text_model: TextModel, element_type: vecserve_pb.ElementType.ValueType, datatype: str, dtype: str
) -> None:
    encoding = VectorEncoding(2, element_type, vecserve_pb.NORMALIZATION_NONE, 2)

    response = to_response(pb.ModelInferRequest(id="7"), text_model, encoding, embeddings([[1, 2], [3, 4], [5, 6]]))

    assert (response.model_name, response.model_version, response.id) == ("tiny-text", "1", "7")
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("embedding", datatype, [3, 2])
    (raw,) = response.raw_output_contents
    assert np.frombuffer(raw, dtype).tolist() == [1, 2, 3, 4, 5, 6]


def test_what_fp16_can_not_hold_is_refused_in_the_words_of_the_protocol(text_model: TextModel) -> None:
    encoding = VectorEncoding(2, vecserve_pb.ELEMENT_TYPE_FLOAT16, vecserve_pb.NORMALIZATION_NONE, 2)

    with pytest.raises(InvalidInputError, match=r"^parameters\.element_type FP16 holds at most 65504"):
        to_response(pb.ModelInferRequest(), text_model, encoding, embeddings([[1, 70000]]))
