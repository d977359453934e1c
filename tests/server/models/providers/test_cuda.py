import ctypes
from typing import Any

import pytest

from vecserve_server.models.providers.cuda import Cuda, device_problems


class Driver:
    """The CUDA driver API of a machine with that many GPUs, or one that answers with an error."""

    def __init__(self, devices: int = 0, error: int = 0) -> None:
        self.devices = devices
        self.error = error

    def cuInit(self, flags: int) -> int:  # noqa: N802 (the API's name)
        return self.error

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802 (the API's name)
        count._obj.value = self.devices
        return 0

    def cuGetErrorString(self, error: int, text: Any) -> int:  # noqa: N802 (the API's name)
        text._obj.value = b"no CUDA-capable device is detected" if error == 100 else None
        return 0


def test_the_defaults_keep_fp32_and_suit_many_shapes() -> None:
    assert Cuda().chain() == [
        (
            "CUDAExecutionProvider",
            {
                "device_id": "0",
                "cudnn_conv_algo_search": "HEURISTIC",
                "use_tf32": "0",
                "arena_extend_strategy": "kSameAsRequested",
            },
        )
    ]


def test_settings_become_options_by_onnx_runtimes_names() -> None:
    options = Cuda(device_id=2, memory_bytes=2**30, conv_search="exhaustive", tf32=True).options()

    assert (options["device_id"], options["gpu_mem_limit"]) == ("2", "1073741824")
    assert (options["cudnn_conv_algo_search"], options["use_tf32"]) == ("EXHAUSTIVE", "1")


def test_raw_options_are_added_and_win() -> None:
    options = Cuda(raw_options={"prefer_nhwc": "1", "arena_extend_strategy": "kNextPowerOfTwo"}).options()

    assert (options["prefer_nhwc"], options["arena_extend_strategy"]) == ("1", "kNextPowerOfTwo")


@pytest.mark.parametrize(
    ("tf32", "precision", "computed_in"),
    [(False, "fp32", "fp32"), (True, "fp32", "tf32"), (True, "fp16", "fp16"), (True, "int8", "int8")],
)
def test_tf32_changes_what_fp32_is_computed_in(tf32: bool, precision: str, computed_in: str) -> None:
    assert Cuda(tf32=tf32).computed_in(precision) == computed_in


def test_a_driver_that_has_the_device_is_no_problem() -> None:
    assert device_problems(Driver(devices=2), 1) == []


def test_a_driver_without_a_gpu_is_named_with_its_error() -> None:
    assert device_problems(Driver(error=100), 0) == [
        "NVIDIA's driver offers no GPU: no CUDA-capable device is detected (error 100)"
    ]


def test_an_error_that_the_driver_cannot_explain_is_numbered() -> None:
    assert device_problems(Driver(error=7), 0) == ["NVIDIA's driver offers no GPU: unknown error (error 7)"]


def test_a_device_beyond_those_there_are_is_named_with_their_number() -> None:
    assert device_problems(Driver(devices=1), 1) == ["device_id is 1, and the driver has 1 GPUs, counted from 0"]


def test_missing_libraries_or_the_driver_are_named_where_there_is_no_gpu() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert any("libcuda.so.1" in sentence for sentence in Cuda().missing())
    else:
        pytest.skip("this machine has NVIDIA's driver")
