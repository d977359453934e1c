"""Embeddings of texts and images from a vecserve server.

    from vecserve import Client

    with Client("127.0.0.1:50051") as client:
        vectors = client.embed_text(["a cat on a mat", "a dog in the fog"]).vectors

`AsyncClient` is the same for asyncio. `vecserve.errors` draws the tree of exceptions.
"""

from importlib.metadata import version

from vecserve.aio import AsyncClient
from vecserve.client import Client
from vecserve.embeddings import Embeddings
from vecserve.errors import (
    BadResponseError,
    BatchTooLargeError,
    DeadlineExceededError,
    DefaultModelError,
    FieldViolation,
    InferenceFailedError,
    InvalidInputError,
    ModelChangedError,
    ModelFailingError,
    ModelLoadError,
    ModelNotFoundError,
    NotReadyError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
    VecserveError,
    WrongModalityError,
)
from vecserve.images import ImageInput
from vecserve.models import Fidelity, ModelInfo, ModelVersion
from vecserve.retry import RetryPolicy
from vecserve.security import Tls

__version__ = version("vecserve")

__all__ = [
    "AsyncClient",
    "BadResponseError",
    "BatchTooLargeError",
    "Client",
    "DeadlineExceededError",
    "DefaultModelError",
    "Embeddings",
    "Fidelity",
    "FieldViolation",
    "ImageInput",
    "InferenceFailedError",
    "InvalidInputError",
    "ModelChangedError",
    "ModelFailingError",
    "ModelInfo",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelVersion",
    "NotReadyError",
    "OverloadedError",
    "RetryPolicy",
    "Tls",
    "UnauthenticatedError",
    "UnavailableError",
    "VecserveError",
    "WrongModalityError",
    "__version__",
]
