"""What this machine's CPU can do."""

from pathlib import Path


def cpu_flags(file: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction sets of this machine's CPU by Linux' names; empty where they can't be read."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def int8_saturates(flags: frozenset[str]) -> bool:
    """Whether ONNX Runtime's int8 products lose their largest sums on a CPU of these instruction sets.

    Without VNNI, it uses an instruction of x86 that adds pairs of products in 16 bits:
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-to-use-reduce-range
    """
    return "avx2" in flags and not any("vnni" in flag for flag in flags)
