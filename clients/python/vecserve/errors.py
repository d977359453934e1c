"""Everything a call can raise beside what Python raises for wrong arguments and unreadable files.

    VecserveError
    ├── InvalidInputError          an input is empty, malformed, too long or too large
    │   ├── BatchTooLargeError     more items in a request than the model takes
    │   └── WrongModalityError     texts for an image model, or the reverse
    ├── ModelNotFoundError         the server has no model of that name
    ├── UnavailableError           nothing was computed, and a later call may succeed
    │   ├── OverloadedError        the queue is full, or the deadline can't be met
    │   ├── NotReadyError          the server is starting or draining
    │   └── ModelFailingError      the model's last runs on this server all failed
    ├── ModelLoadError             a version of a model can't be served
    ├── DefaultModelError          a default model can't be unloaded
    ├── DeadlineExceededError      the timeout passed without an answer
    ├── InferenceFailedError       the runtime failed: the server's log has the cause under the request id
    ├── UnauthenticatedError       no credentials, or wrong ones
    ├── ModelChangedError          one call was answered by two versions of a model
    └── BadResponseError           the answer contradicts the API: client and server don't fit together

A VecserveError of no subclass is a gRPC failure that the API has no reason for; its `code` tells which.
"""

from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with an input."""

    field: str
    """Path of the field, e.g. `texts[35]`; the index is that of the caller's own sequence."""
    description: str
    """What is wrong with it and what is allowed."""


class VecserveError(Exception):
    """A call failed.

    Attributes:
        message: What happened, without the request id.
        code: The gRPC status code. Where the client found the fault, the one that fits best.
        reason: Name of a `vecserve.v1.ErrorReason`, e.g. `ERROR_REASON_OVERLOADED`; empty where the server gave none.
        request_id: What the server's log calls the request; empty where no server saw it.
    """

    # Everything but the message has a default because unpickling (multiprocessing, Celery) calls cls(message).
    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.request_id = request_id

    def __str__(self) -> str:
        # The message of an internal error has the id in it already; "" is in every message.
        return self.message if self.request_id in self.message else f"{self.message} (request id {self.request_id})"


class InvalidInputError(VecserveError):
    """An input can't be embedded; none of the call's inputs was answered.

    Attributes:
        violations: What is wrong, field by field. Of the first request that failed, where a call was split.
    """

    violations: tuple[FieldViolation, ...] = ()

    def __str__(self) -> str:
        unsaid = [f"{v.field}: {v.description}" for v in self.violations if v.description not in self.message]
        return "; ".join([super().__str__(), *unsaid])


class BatchTooLargeError(InvalidInputError):
    """A request held more items than the model takes; `ModelInfo.max_batch_count` bounds `batch_size`."""


class WrongModalityError(InvalidInputError):
    """The model embeds another kind of input."""


class ModelNotFoundError(VecserveError):
    """The server has no model of that name.

    Attributes:
        model: The name that was asked for.
    """

    model: str = ""


class UnavailableError(VecserveError):
    """Nothing was computed, and a later call may succeed.

    Attributes:
        retry_after: Seconds after which the server expects to do better, or None where it didn't say.
    """

    retry_after: float | None = None


class OverloadedError(UnavailableError):
    """The server's queue is full, or it can't meet the deadline."""


class NotReadyError(UnavailableError):
    """The server is starting or draining."""


class ModelFailingError(UnavailableError):
    """The model's last runs on the server all failed; it is tried again by itself."""


class ModelLoadError(VecserveError):
    """A version of a model can't be served, and the message says why; what was served goes on."""


class DefaultModelError(VecserveError):
    """The model is what calls mean that name none, and can't be unloaded."""


class DeadlineExceededError(VecserveError):
    """The timeout passed without an answer."""


class InferenceFailedError(VecserveError):
    """The model runtime failed; the cause is in the server's log under the request id."""


class UnauthenticatedError(VecserveError):
    """The call had no credentials, or wrong ones."""


class ModelChangedError(VecserveError):
    """The requests of one call were answered by different models, whose vectors can't be compared."""


class BadResponseError(VecserveError):
    """The server's answer contradicts the API."""
