"""What pydantic found wrong, in one line."""

from collections.abc import Callable

from pydantic import ValidationError


def describe(error: ValidationError, name: Callable[[str], str] = str) -> str:
    """Each field with what is wrong and what was given; `name` turns a field's path into what users call it."""
    problems: list[str] = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        # A whole that is wrong in no single field would be cut off long before what is.
        whole = not path and problem["type"] == "value_error"
        unsaid = whole or problem["type"] in ("missing", "json_invalid")
        given = "" if unsaid else f" (given: {problem['input']!r:.80})"
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name(path)}: {message}{given}" if path else f"{message}{given}")
    return "; ".join(problems)
