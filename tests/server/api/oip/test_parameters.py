import math
from typing import Any

import pytest

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.v1 import embedding_service_pb2 as vecserve_pb
from vecserve_server.api.oip.parameters import InferOptions, read_parameters
from vecserve_server.engine.errors import Violation
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import Truncation
from vecserve_server.models.model import TextModel


def parameters(**values: str | int | float | bool | None) -> dict[str, pb.InferParameter]:
    kinds: dict[type, str] = {str: "string_param", int: "int64_param", float: "double_param", bool: "bool_param"}
    return {
        name: pb.InferParameter() if value is None else pb.InferParameter(**{kinds[type(value)]: value})  # pyright: ignore[reportArgumentType]
        for name, value in values.items()
    }


def read(model: TextModel, *, of_texts: bool = True, **values: Any) -> tuple[InferOptions, list[Violation]]:
    violations: list[Violation] = []
    prompts = model.spec.prompts if of_texts else None
    return read_parameters(parameters(**values), model.manifest, prompts, violations), violations


def test_what_is_left_open_is_as_in_the_typed_api(text_model: TextModel) -> None:
    options, violations = read(text_model)

    assert not violations
    assert options.encoding.format == vecserve_pb.VectorFormat(
        dimensionality=8, element_type=vecserve_pb.ELEMENT_TYPE_FLOAT32, normalization=vecserve_pb.NORMALIZATION_L2
    )
    assert (options.truncation, options.prompt) == (Truncation.END, "")
    assert (options.priority, options.timeout) == (None, None)


def test_every_parameter_has_its_meaning(text_model: TextModel) -> None:
    options, violations = read(
        text_model,
        dimensionality=4,
        element_type="FP16",
        normalization="none",
        truncation="start",
        prompt="query",
        priority=2,
        timeout=1500,
    )

    assert not violations
    assert options.encoding.format == vecserve_pb.VectorFormat(
        dimensionality=4, element_type=vecserve_pb.ELEMENT_TYPE_FLOAT16, normalization=vecserve_pb.NORMALIZATION_NONE
    )
    assert (options.truncation, options.prompt) == (Truncation.START, "query")
    assert (options.priority, options.timeout) == (Priority.BULK, 0.0015)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("interactive", Priority.INTERACTIVE),
        ("bulk", Priority.BULK),
        (0, None),
        (1, Priority.INTERACTIVE),
        (2, Priority.BULK),
    ],
)
def test_priorities_are_names_or_levels(text_model: TextModel, given: str | int, meant: Priority | None) -> None:
    assert read(text_model, priority=given)[0].priority is meant


def test_unsigned_integers_are_integers(text_model: TextModel) -> None:
    given = {"priority": pb.InferParameter(uint64_param=2), "dimensionality": pb.InferParameter(uint64_param=4)}

    options = read_parameters(given, text_model.manifest, {}, [])

    assert (options.priority, options.encoding.dimensionality) == (Priority.BULK, 4)


@pytest.mark.parametrize(
    ("name", "value", "description"),
    [
        ("dimensionality", 5, "is 5, and allowed are: 4, 8"),
        ("dimensionality", "4", "is '4', and allowed are: 4, 8"),
        ("dimensionality", 4.0, "is a floating-point number; a string or an integer is needed"),
        ("element_type", "BF16", "is 'BF16', and allowed are: 'FP32', 'FP16'"),
        ("normalization", "L2", "is 'L2', and allowed are: 'none', 'l2'"),
        ("normalization", True, "is a truth value; a string or an integer is needed"),
        ("priority", 3, "is 3, and allowed are: 'interactive', 'bulk', 0, 1, 2"),
        ("prompt", "passage", "is 'passage', and allowed are: 'query'"),
        ("truncation", None, "is empty; a string or an integer is needed"),
        ("truncation", "left", "is 'left', and allowed are: 'none', 'start', 'end'"),
        ("timeout", -1, "is -1, and allowed are: whole numbers of microseconds, 0 for no limit"),
        ("timeout", "1s", "is '1s', and allowed are: whole numbers of microseconds, 0 for no limit"),
        (
            "sequence_id",
            7,
            "is not known for these inputs; known are: dimensionality, element_type, normalization, priority, prompt, "
            "timeout, truncation",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_its_name(
    text_model: TextModel, name: str, value: Any, description: str
) -> None:
    assert read(text_model, **{name: value})[1] == [Violation(f"parameters.{name}", description)]


def test_everything_wrong_is_named_at_once(text_model: TextModel) -> None:
    _, violations = read(text_model, foo=1, bar=1, truncation="x", timeout=-5)

    assert [violation.field for violation in violations] == [
        "parameters.bar",
        "parameters.foo",
        "parameters.truncation",
        "parameters.timeout",
    ]


def test_of_very_many_unknown_names_the_first_are_told(text_model: TextModel) -> None:
    given: dict[str, Any] = {f"p{number:03}": 1 for number in range(1000)}

    _, violations = read(text_model, **given)

    assert [violation.field for violation in violations] == [f"parameters.p{number:03}" for number in range(16)]


def test_inputs_that_are_no_texts_know_nothing_of_prompts_and_truncation(text_model: TextModel) -> None:
    _, violations = read(text_model, of_texts=False, prompt="query", truncation="end", element_type="FP16")

    assert violations == [
        Violation(
            f"parameters.{name}",
            "is not known for these inputs; known are: dimensionality, element_type, normalization, priority, timeout",
        )
        for name in ("prompt", "truncation")
    ]


def test_a_model_without_prompts_says_so(text_model: TextModel) -> None:
    violations: list[Violation] = []
    read_parameters(parameters(prompt="query"), text_model.manifest, {}, violations)

    assert violations[0].description == "is 'query', and allowed are: none, as the model has none"


def test_what_perf_analyzer_always_sends_is_accepted(text_model: TextModel) -> None:
    assert not read(text_model, triton_enable_empty_final_response=True)[1]


def test_terms_are_those_of_the_call_unless_parameters_say_otherwise(text_model: TextModel) -> None:
    call = Terms(deadline=105.0, priority=Priority.BULK, normalized=True)

    assert read(text_model)[0].terms(call, 100.0) == call
    assert read(text_model, timeout=0)[0].terms(call, 100.0) == call
    assert read(text_model, priority=0)[0].terms(call, 100.0) == call
    assert read(text_model, priority=1, timeout=2_000_000)[0].terms(call, 100.0) == Terms(
        102.0, Priority.INTERACTIVE, normalized=True
    )
    assert not read(text_model, normalization="none")[0].terms(call, 100.0).normalized
    assert read(text_model, timeout=9_000_000)[0].terms(call, 100.0).deadline == 105.0
    assert read(text_model, timeout=1_000_000)[0].terms(Terms(math.inf), 100.0).deadline == 101.0
