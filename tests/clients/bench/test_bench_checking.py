from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from examples import load_result

from vecserve_bench.api import ModelDetails
from vecserve_bench.checking import check_vectors


class Floats:
    """Responses are the vectors themselves: rows of two float32."""

    method, streamed, model = "", False, ModelDetails("")

    def request(self, inputs: Sequence[bytes]) -> bytes:
        return b"".join(inputs)

    def vectors(self, response: bytes) -> npt.NDArray[np.floating]:
        if len(response) % 8:
            raise ValueError("half a vector")
        return np.frombuffer(response, np.float32).reshape(-1, 2)


def packed(*rows: Sequence[float]) -> bytes:
    return np.array(rows, np.float32).tobytes()


SOUND = {0: packed([1, 2]), 1: packed([3, 4], [5, 6])}


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (packed([1, 2], [3, 4]), "2 vectors for 1 inputs"),
        (packed([1, np.nan]), "not finite"),
        (packed([0, 0]), "a vector of zeros"),
        (packed([2, 1]), "cosine with the first of the same input is 0.8"),
        (b"1234", "half a vector"),
    ],
)
def test_what_is_wrong_with_a_response_is_told(response: bytes, fault: str) -> None:
    load = replace(load_result([0.01] * 4), responses={**SOUND, 2: response})

    found = check_vectors(Floats(), load, sizes=[1, 2])

    assert (found.responses, found.bad) == (3, 1)
    assert fault in found.example


def test_sound_responses_have_no_fault_even_if_rounded_otherwise() -> None:
    load = replace(load_result([0.01] * 4), responses={**SOUND, 2: packed([1.00001, 2])})

    assert check_vectors(Floats(), load, sizes=[1, 2]).bad == 0
