"""Why the engine refuses or fails a call.

EngineError
├── InvalidInputError         the caller's input; lists every field that is wrong
│   ├── BatchTooLargeError
│   └── WrongModalityError
├── ModelNotFoundError
├── UnavailableError          not now; says when to try again
│   ├── OverloadedError
│   ├── NotReadyError
│   └── ModelFailingError
├── ModelLoadError            a version on disk can't be served
├── DefaultModelError         a default model can't be unloaded
├── ExpiredError              the deadline passed before the work was computed
└── InferenceFailedError      ours; the cause is chained, and never shown to callers
"""

from collections.abc import Sequence
from dataclasses import dataclass


class EngineError(Exception):
    """Base of everything that the engine raises on purpose."""


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of a request."""

    field: str
    """Path in the request, e.g. `images[3].content`."""
    description: str


class InvalidInputError(EngineError):
    """The input can't be embedded, whoever tries again."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{violation.field} {violation.description}" for violation in violations))
        self.violations = tuple(violations)


class BatchTooLargeError(InvalidInputError):
    """More items than one call may carry."""


class WrongModalityError(InvalidInputError):
    """The model embeds another kind of input."""


class ModelNotFoundError(EngineError):
    """No model of that name is loaded."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class UnavailableError(EngineError):
    """Not now; the same call may succeed after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverloadedError(UnavailableError):
    """The queue is full, or the deadline can't be met."""


class NotReadyError(UnavailableError):
    """The server is starting or draining."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        """By default, the caller waits for about as long as a server takes to load, or another one to take over."""
        super().__init__(message, retry_after)


class ModelFailingError(UnavailableError):
    """The model's last runs all failed; it is tried again after `retry_after` seconds."""


class ModelLoadError(EngineError):
    """A version of a model can't be served, and why; what was served before goes on."""


class DefaultModelError(EngineError):
    """The model is what calls mean that name none, and can't be unloaded."""


class ExpiredError(EngineError):
    """The deadline passed while the work waited; it was not computed."""


class InferenceFailedError(EngineError):
    """ONNX Runtime failed, or computed something that is not a number."""

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        """Takes its cause too, for calls are failed with it, and nothing is raised `from` one."""
        super().__init__(message)
        if cause is not None:
            self.__cause__ = cause
