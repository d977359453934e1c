"""`make bench-int8`: an encoder in fp32, in int8, and in ONNX Runtime's dynamic int8, turn by turn in one run."""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from vecserve_server.models.providers.provider import Cpu

BATCH = 32
INSTANCES = 2
SECONDS = 1.5

Feeds = dict[str, NDArray[np.int64]]


def session(file: Path, disabled: tuple[str, ...]) -> Any:
    options = cast(Any, ort.SessionOptions())
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled))


def feeds(tokens: int) -> Feeds:
    ids = np.random.default_rng(0).integers(1000, 29000, (BATCH, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def texts_per_second(run: Callable[[], object]) -> float:
    """Of batches on as many threads as there are instances."""
    counts, started = [0] * INSTANCES, time.perf_counter()

    def work(instance: int) -> None:
        while time.perf_counter() - started < SECONDS:
            run()
            counts[instance] += BATCH

    threads = [threading.Thread(target=work, args=(instance,)) for instance in range(INSTANCES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-int8", description=__doc__)
    parser.add_argument("--fp32", type=Path, default=Path("models/all-minilm-l6-v2/1/model.onnx"), metavar="FILE")
    parser.add_argument("--int8", type=Path, default=Path("models/all-minilm-l6-v2-int8/1/model.onnx"), metavar="FILE")
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 32, 128], metavar="N", help="of each text")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        dynamic = Path(directory) / "dynamic.onnx"
        quantize_dynamic(arguments.fp32, dynamic, per_channel=True, weight_type=QuantType.QInt8)
        compare(
            {
                "fp32, as served": session(arguments.fp32, Cpu.slower_fusions),
                "fp32, ONNX Runtime's defaults": session(arguments.fp32, ()),
                "dynamic int8, ONNX Runtime's defaults": session(dynamic, ()),
                "dynamic int8, with what is served": session(dynamic, Cpu.slower_fusions),
                "int8, as served": session(arguments.int8, Cpu.slower_fusions),
                "int8, ONNX Runtime's defaults": session(arguments.int8, ()),
            },
            arguments.tokens,
            arguments.rounds,
        )


def compare(sessions: dict[str, Any], lengths: list[int], rounds: int) -> None:
    """Prints texts a second and, over each other, the median of the ratios within a round."""
    for tokens in lengths:
        inputs = feeds(tokens)
        rates: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(rounds):
            for name, running in sessions.items():
                rates[name].append(texts_per_second(partial(running.run, None, inputs)))
        print(f"\n{INSTANCES} instances of one thread, {BATCH} texts of {tokens} tokens, {rounds} rounds")
        for name, each in rates.items():
            ratios = [a / b for a, b in zip(each, rates["fp32, as served"], strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{name:40}{statistics.median(each):8.0f} texts/s {statistics.median(ratios):6.2f} x fp32 ({spread})")
        ours = rates["int8, as served"]
        for name in list(sessions)[1:4]:
            ratios = [a / b for a, b in zip(ours, rates[name], strict=True)]
            print(f"int8, as served, over {name}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
