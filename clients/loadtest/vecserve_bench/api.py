"""What an API looks like to the harness."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


class TargetError(Exception):
    """The server can't be measured as was asked."""


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """What a server says of a model; empty or 0 where it says nothing."""

    name: str
    version: str = ""
    digest: str = ""
    modality: str = ""
    dimensionality: int = 0
    precision: str = ""
    execution_provider: str = ""
    platform: str = ""


class Api(Protocol):
    """How inputs become requests, and responses vectors."""

    method: str
    """The path of calls."""
    streamed: bool
    """Whether calls are messages of a stream."""
    model: ModelDetails
    """What is called."""

    def request(self, inputs: Sequence[bytes]) -> bytes:
        """Return the serialized request for inputs."""
        ...

    def vectors(self, response: bytes) -> npt.NDArray[np.floating]:
        """Return the vectors of a serialized response, `(inputs, dimensions)`.

        Raises:
            ValueError: If the response is not what the API says.
        """
        ...
