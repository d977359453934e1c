import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from vecserve_server.validation import describe


class Inner(BaseModel):
    sizes: list[int] = []


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _is_not_taken(self) -> "Outer":
        if self.name == "taken":
            raise ValueError("name is taken")
        return self


def error(json: str) -> ValidationError:
    with pytest.raises(ValidationError) as refused:
        Outer.model_validate_json(json)
    return refused.value


def test_each_problem_has_its_path_its_reason_and_what_was_given() -> None:
    assert describe(error('{"name": 3, "inner": {"sizes": [1, "x"]}, "age": 4}')) == (
        "name: Input should be a valid string (given: 3); "
        "inner.sizes.1: Input should be a valid integer, unable to parse string as an integer (given: 'x'); "
        "age: Extra inputs are not permitted (given: 4)"
    )


def test_what_is_missing_was_not_given() -> None:
    assert describe(error("{}")) == "name: Field required"


def test_a_problem_of_the_whole_has_no_path_and_does_not_repeat_it() -> None:
    assert describe(error('{"name": "taken"}')) == "name is taken"


def test_what_is_no_json_is_not_repeated() -> None:
    assert describe(error("{" * 10_000)).startswith("Invalid JSON")
    assert len(describe(error("{" * 10_000))) < 200


def test_long_values_are_cut() -> None:
    assert len(describe(error(f'{{"name": [{"1," * 1000}1]}}'))) < 200


def test_fields_are_called_what_users_call_them() -> None:
    assert describe(error("{}"), name=lambda field: f"--{field}") == "--name: Field required"
