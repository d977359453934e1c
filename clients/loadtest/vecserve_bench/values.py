"""Values of the command's options, from text. What is wrong raises ValueError, in words for the user."""

import argparse
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def typed(parse_value: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Return a parser whose ValueError reaches the user in its own words: argparse would replace it."""

    def parsed(text: str) -> _Value:
        try:
            return parse_value(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def _number(text: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"must be a number, not {text!r}") from None


def count(text: str) -> int:
    """Parse a number of things."""
    value = _number(text, int)
    if value < 1:
        raise ValueError(f"must be at least 1, not {text}")
    return value


def positive(text: str) -> float:
    """Parse a positive number."""
    value = _number(text, float)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"must be a positive number, not {text}")
    return value


def not_negative(text: str) -> float:
    """Parse a number that is not negative."""
    value = _number(text, float)
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"must be a number that is not negative, not {text}")
    return value


def seed(text: str) -> int:
    """Parse the seed of a random generator."""
    value = _number(text, int)
    if value < 0:
        raise ValueError(f"must not be negative, and is {text}")
    return value


def percent(text: str) -> float:
    """Parse a precision; return it as a share."""
    value = positive(text.removesuffix("%"))
    if not 0.5 <= value <= 50:
        raise ValueError(f"must be from 0.5 to 50 percent, not {text}")
    return value / 100


def counts(text: str) -> list[int]:
    """Parse numbers of things, separated by commas."""
    return [count(part) for part in text.split(",")]


def positives(text: str) -> list[float]:
    """Parse positive numbers, separated by commas."""
    return [positive(part) for part in text.split(",")]


def size(text: str) -> tuple[int, int]:
    """Parse an image's width and height."""
    if not (found := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)):
        raise ValueError(f"must be WIDTHxHEIGHT in pixels, such as 500x375, not {text!r}")
    return int(found[1]), int(found[2])


def metadata(text: str) -> tuple[str, str]:
    """Parse a header as curl and grpcurl take it; return its name, in lower case, and value."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"must be NAME: VALUE, not {text!r}")
    return name.strip().lower(), value.strip()
