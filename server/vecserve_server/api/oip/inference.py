"""ModelInfer: a request's tensors to the engine's inputs, and its vectors to a tensor. Pure."""

from collections.abc import Mapping, Sequence

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.v1 import embedding_service_pb2 as vecserve_pb
from vecserve_server.api.oip.parameters import InferOptions, read_parameters
from vecserve_server.api.oip.signatures import OUTPUT, Signature, in_words, signatures
from vecserve_server.api.oip.tensors import Elements, read_tensor
from vecserve_server.api.requests import refuse
from vecserve_server.api.vectors import VectorEncoding
from vecserve_server.engine.engine import Embeddings
from vecserve_server.engine.errors import InvalidInputError, Violation
from vecserve_server.models.inputs import (
    AnyInputs,
    ImageInputs,
    InvalidItemsError,
    PixelInputs,
    TextInputs,
    TokenInputs,
)
from vecserve_server.models.model import AnyModel, TextModel

Tensors = Mapping[str, Elements]

_DATATYPES = {vecserve_pb.ELEMENT_TYPE_FLOAT32: "FP32", vecserve_pb.ELEMENT_TYPE_FLOAT16: "FP16"}

# As with parameters, of very many.
_OUTPUTS_CHECKED = 16

_FP16_OVERFLOW = Violation(
    "parameters.element_type",
    "FP16 holds at most 65504, and a vector has a larger element: ask for FP32 or for normalization 'l2'",
)


def read_request(request: pb.ModelInferRequest, model: AnyModel, max_items: int) -> tuple[Tensors, InferOptions]:
    """The tensors of a request by name, in the order of their signature, and its options.

    Raises:
        InvalidInputError: names everything that is not allowed. The items themselves are not read yet.
    """
    signature = _signature(request, model)
    prompts = model.spec.prompts if isinstance(model, TextModel) and signature[0].name == "text" else None
    violations = list[Violation]()
    options = read_parameters(request.parameters, model.manifest, prompts, violations)
    _check_outputs(request.outputs, violations)
    tensors = _read_tensors(request, signature, max_items, violations)
    refuse(violations, any(tensor.shape and tensor.shape[0] > max_items for tensor in request.inputs))
    return tensors, options


def to_inputs(tensors: Tensors, options: InferOptions) -> AnyInputs:
    """What the engine embeds.

    Raises:
        InvalidItemsError: a text is not UTF-8.
    """
    match tensors:
        case {"text": list(texts)}:
            return TextInputs(_decoded(texts), options.truncation, options.prompt)
        case {"image": list(contents)}:
            return ImageInputs(contents)
        case {"pixel_values": pixels}:
            return PixelInputs(pixels)  # pyright: ignore[reportArgumentType] (only BYTES are lists)
        case _:
            return TokenInputs(tensors["input_ids"], tensors["attention_mask"])  # pyright: ignore[reportArgumentType] (as above)


def to_response(
    request: pb.ModelInferRequest, model: AnyModel, encoding: VectorEncoding, result: Embeddings
) -> pb.ModelInferResponse:
    """The vectors, one row for each input.

    Raises:
        InvalidInputError: an element is too large for FP16.
    """
    try:
        packed = b"".join(encoding.encode(result))
    except InvalidInputError as error:
        raise InvalidInputError([_FP16_OVERFLOW]) from error
    output = pb.ModelInferResponse.InferOutputTensor(
        name=OUTPUT, datatype=_DATATYPES[encoding.element_type], shape=[len(result.rows), encoding.dimensionality]
    )
    return pb.ModelInferResponse(
        model_name=model.name,
        model_version=model.version,
        id=request.id,
        outputs=[output],
        raw_output_contents=[packed],
    )


def _signature(request: pb.ModelInferRequest, model: AnyModel) -> Signature:
    """That of the inputs which the request names."""
    names = sorted(tensor.name for tensor in request.inputs)
    for signature in signatures(model):
        if names == sorted(spec.name for spec in signature):
            return signature
    given = ", ".join(f"'{name}'" for name in names) or "empty"
    allowed = "; or ".join(map(in_words, signatures(model)))
    raise InvalidInputError([Violation("inputs", f"are {given}, and the model takes {allowed}")])


def _check_outputs(
    outputs: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor], violations: list[Violation]
) -> None:
    if len(outputs) > _OUTPUTS_CHECKED:
        violations.append(Violation("outputs", f"are {len(outputs)}, and the only one is '{OUTPUT}'"))
        return
    for index, output in enumerate(outputs):
        if output.name != OUTPUT:
            violations.append(
                Violation(f"outputs[{index}].name", f"is '{output.name}', and the only one is '{OUTPUT}'")
            )
        if output.parameters:
            names = ", ".join(sorted(output.parameters))
            violations.append(Violation(f"outputs[{index}].parameters", f"are {names}, and none is supported"))


def _read_tensors(
    request: pb.ModelInferRequest, signature: Signature, max_items: int, violations: list[Violation]
) -> Tensors:
    raws = _raw_contents(request, violations)
    given = {tensor.name: (tensor, raw) for tensor, raw in zip(request.inputs, raws, strict=True)}
    tensors: dict[str, Elements] = {}
    for spec in signature:
        elements = read_tensor(*given[spec.name], spec, max_items, violations)
        if elements is not None:
            tensors[spec.name] = elements
    _check_same_shape([given[name][0] for name in tensors], violations)
    return tensors


def _raw_contents(request: pb.ModelInferRequest, violations: list[Violation]) -> list[bytes | None]:
    """For each input its raw contents; None where it brings its elements itself."""
    raw = list(request.raw_input_contents)
    if not raw:
        return [None] * len(request.inputs)
    if len(raw) != len(request.inputs):
        description = f"has {len(raw)} elements, and there are {len(request.inputs)} inputs: each needs one"
        raise InvalidInputError([*violations, Violation("raw_input_contents", description)])
    for tensor in request.inputs:
        if tensor.HasField("contents"):
            description = "is set, and so is raw_input_contents: send either for all inputs"
            violations.append(Violation(f"inputs.{tensor.name}.contents", description))
    return [*raw]


def _check_same_shape(tensors: list[pb.ModelInferRequest.InferInputTensor], violations: list[Violation]) -> None:
    """Several inputs describe the same items."""
    for tensor in tensors[1:]:
        if tensor.shape != tensors[0].shape:
            description = f"is {list(tensor.shape)}, and that of {tensors[0].name} is {list(tensors[0].shape)}"
            violations.append(Violation(f"inputs.{tensor.name}.shape", description))


def _decoded(texts: list[bytes]) -> list[str]:
    decoded: list[str] = []
    problems: dict[int, str] = {}
    for index, text in enumerate(texts):
        try:
            decoded.append(text.decode())
        except UnicodeDecodeError as error:
            problems[index] = f"is not UTF-8: {error.reason} at byte {error.start}"
    if problems:
        raise InvalidItemsError(problems)
    return decoded
