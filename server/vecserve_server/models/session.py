"""ONNX Runtime sessions that run where they were told to, or say why not."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


class Provider(Enum):
    """An execution provider, by the name users give it."""

    CPU = "cpu"
    CUDA = "cuda"

    @property
    def onnxruntime_name(self) -> str:
        """What ONNX Runtime calls it."""
        return {Provider.CPU: "CPUExecutionProvider", Provider.CUDA: "CUDAExecutionProvider"}[self]


class ProviderError(Exception):
    """The execution provider that was asked for did not load."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Where and how graphs run."""

    provider: Provider = Provider.CPU
    device_id: int = 0
    intra_op_threads: int = 1
    """Threads of one run. With 1, a run stays on the thread that calls it."""


class Graph:
    """An ONNX graph loaded onto one execution provider.

    Thread-safe: several instances run it at once and share its weights.
    """

    def __init__(self, file: Path, options: SessionOptions) -> None:
        """Loads a graph onto the provider that was asked for.

        Raises:
            ProviderError: the installed ONNX Runtime lacks the provider, or its libraries or device are missing.
                ONNX Runtime itself would go on with the CPU (onnxruntime#17801).
        """
        require_provider(options.provider)
        if options.provider is Provider.CUDA:
            _preload_cuda()
        self.provider = options.provider.onnxruntime_name
        self._session = ort.InferenceSession(
            file,
            sess_options=_session_options(options),
            providers=[(self.provider, _provider_options(options))],
            enable_fallback=0,
        )
        loaded = cast("list[str]", self._session.get_providers())
        if loaded[0] != self.provider:
            reason = _reason(options.provider)
            raise ProviderError(f"{self.provider} did not load; ONNX Runtime chose {', '.join(loaded)}. {reason}")

    @property
    def inputs(self) -> dict[str, list[int | str | None]]:
        """Shapes of the inputs by name; a dynamic dimension is a name or None."""
        return {node.name: node.shape for node in cast("list[Any]", self._session.get_inputs())}

    @property
    def outputs(self) -> dict[str, list[int | str | None]]:
        """Shapes of the outputs by name."""
        return {node.name: node.shape for node in cast("list[Any]", self._session.get_outputs())}

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, by key."""
        return cast("dict[str, str]", self._session.get_modelmeta().custom_metadata_map)

    def run(self, output: str, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Computes one output, `(batch, ...)`."""
        return cast("NDArray[np.float32]", self._session.run([output], feeds)[0])


def require_provider(provider: Provider) -> None:
    """Raises `ProviderError` at once if the installed ONNX Runtime was built without `provider`."""
    available = cast("list[str]", ort.get_available_providers())
    if provider.onnxruntime_name not in available:
        raise ProviderError(
            f"provider '{provider.value}' is not in the installed onnxruntime {ort.__version__}, which has "
            f"{', '.join(available)}. For CUDA, install 'vecserve[server,gpu]' in place of 'vecserve[server,cpu]'"
        )


@cache
def _preload_cuda() -> None:
    """Loads the CUDA and cuDNN that pip installed beside ONNX Runtime, where the system has none."""
    ort.preload_dlls()


def _session_options(options: SessionOptions) -> Any:
    settings = cast("Any", ort.SessionOptions())
    settings.intra_op_num_threads = options.intra_op_threads
    # Threads that spin between runs take the cores that other instances and gRPC need.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan of the memory is kept for every shape that ever came, and texts have many. Without, as fast and smaller.
    settings.enable_mem_pattern = False
    return settings


def _provider_options(options: SessionOptions) -> dict[str, str]:
    if options.provider is Provider.CPU:
        return {}
    return {
        "device_id": str(options.device_id),
        # Exhaustive search would run anew for each of the many shapes that texts have.
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def _reason(provider: Provider) -> str:
    """What the dynamic linker says of the provider's library: the usual cause is a missing CUDA or cuDNN."""
    library = Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{provider.value}.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"Its library can't be loaded: {error}"
    return "Its library loads, so the device or its driver is missing; ONNX Runtime's message stands above."
