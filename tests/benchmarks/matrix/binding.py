"""Ways of handing a batch to ONNX Runtime: the server's, and those that keep buffers on the device."""

from collections.abc import Callable

import onnxruntime as ort

from benchmarks.matrix.subject import Subject

PLAIN = "plain run"
BOUND = "IO binding"
CAPTURED = "IO binding and CUDA graph"

# Providers whose inputs and outputs are in the host's memory.
_HOST = "CPUExecutionProvider", "OpenVINOExecutionProvider"


def ways(subject: Subject, count: int, length: int) -> dict[str, Callable[[], object]]:
    """Functions that run one and the same batch, and return when its vectors are in the host's memory.

    What is bound stays on the device: the batch is copied there once, which a server would do every time.
    """
    plain, feeds = subject.session({}), subject.feeds(count, length)
    output = subject.model.manifest.output
    found: dict[str, Callable[[], object]] = {
        PLAIN: lambda: plain.run([output], feeds),
        BOUND: _bound(subject, {}, count, length),
    }
    if subject.provider.name == "CUDAExecutionProvider":
        found[CAPTURED] = _bound(subject, {"enable_cuda_graph": "1"}, count, length)
    return found


def _bound(subject: Subject, changes: dict[str, str], count: int, length: int) -> Callable[[], object]:
    session, manifest = subject.session(changes), subject.model.manifest
    device = "cpu" if subject.provider.name in _HOST else "cuda"
    binding = session.io_binding()
    for name, array in subject.feeds(count, length).items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device, 0))
    shape = [count, manifest.dimensionality]
    binding.bind_ortvalue_output(
        manifest.output, ort.OrtValue.ortvalue_from_shape_and_type(shape, "float32", device, 0)
    )

    def run() -> object:
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    return run
