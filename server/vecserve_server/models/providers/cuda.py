"""NVIDIA GPUs through CUDA and cuDNN."""

import contextlib
import ctypes
import io
import logging
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import onnxruntime as ort

from vecserve_server.models.providers.libraries import lacking, missing_libraries, runtime_library
from vecserve_server.models.providers.provider import Provider

logger = logging.getLogger(__name__)

DRIVER = "libcuda.so.1"
CUDA_LIBRARY = runtime_library("libonnxruntime_providers_cuda.so")
SOURCES = f"{DRIVER} comes with NVIDIA's driver, libraries of CUDA and cuDNN with 'vecserve[server,gpu]'"


@dataclass(frozen=True, kw_only=True)
class Cuda(Provider):
    """ONNX Runtime's CUDA kernels.

    CUDA graphs stay off: each is captured for one shape, and batches have many.
    """

    name: str = "CUDAExecutionProvider"
    device_id: int = 0
    memory_bytes: int | None = None
    """Most memory of each model's arena; without it, all that there is."""
    conv_search: str = "heuristic"
    """How cuDNN chooses an algorithm. An exhaustive search would run anew for each of the shapes that batches have."""
    tf32: bool = False
    """Whether products of fp32 may be rounded to TF32, 10 bits of mantissa instead of 23."""

    packages: ClassVar[str] = "'vecserve[server,gpu]' in place of 'vecserve[server,cpu]'"

    def options(self) -> dict[str, str]:
        limit = {} if self.memory_bytes is None else {"gpu_mem_limit": str(self.memory_bytes)}
        return {
            "device_id": str(self.device_id),
            "cudnn_conv_algo_search": self.conv_search.upper(),
            "use_tf32": str(int(self.tf32)),
            # Doubling, the default, would take up to twice what the largest batches need.
            "arena_extend_strategy": "kSameAsRequested",
            **limit,
            **self.raw_options,
        }

    def computed_in(self, precision: str) -> str:
        return "tf32" if self.tf32 and precision == "fp32" else precision

    def prepare(self) -> None:
        _preload()

    def missing(self) -> list[str]:
        libraries = missing_libraries(CUDA_LIBRARY)
        return [f"{lacking(libraries)} ({SOURCES})"] if libraries else driver_problems(self.device_id)


@cache
def _preload() -> None:
    """Loads the CUDA and cuDNN that pip installed beside ONNX Runtime, where the system has none."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        ort.preload_dlls()
    for line in printed.getvalue().splitlines():
        logger.debug("%s", line)


def driver_problems(device_id: int) -> list[str]:
    """Why NVIDIA's driver can't offer that device; empty if it can."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError as error:
        return [f"NVIDIA's driver can't be loaded: {error}"]
    return device_problems(driver, device_id)


def device_problems(driver: Any, device_id: int) -> list[str]:
    """The same of a driver that is there: the CUDA driver API, as ctypes calls it."""
    count = ctypes.c_int()
    for call in (lambda: driver.cuInit(0), lambda: driver.cuDeviceGetCount(ctypes.byref(count))):
        if status := call():
            return [f"NVIDIA's driver offers no GPU: {_describe(driver, status)}"]
    if device_id >= count.value:
        return [f"device_id is {device_id}, and the driver has {count.value} GPUs, counted from 0"]
    return []


def _describe(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorString(status, ctypes.byref(text))
    return f"{(text.value or b'unknown error').decode()} (error {status})"
