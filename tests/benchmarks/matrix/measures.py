"""What is measured of each artifact."""

import resource
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.matrix.binding import PLAIN, ways
from benchmarks.matrix.subject import Subject
from benchmarks.matrix.table import Table
from vecserve_server.models.model import AnyModel
from vecserve_server.models.providers.provider import ProviderError


@dataclass(frozen=True)
class Extent:
    """How much of everything is measured."""

    batches: Sequence[int]
    lengths: Sequence[int]
    instances: Sequence[int]
    seconds: float


def loads(subjects: Sequence[Subject]) -> Table:
    table = Table("Loading", ["artifact", "precision", "computed in", "seconds", "nodes by provider"])
    for subject in subjects:
        placed = ", ".join(f"{name} {count}" for name, count in subject.placement().items()) or "not told"
        manifest = subject.model.manifest
        table.add(subject.name, manifest.precision, subject.model.computed_in, subject.load_seconds, placed)
    return table


def parity(subjects: Sequence[Subject], count: int) -> Table:
    """Vectors of `count` inputs of the probe set, alone, beside those of the CPU, and in batches."""
    table = Table(
        "Parity",
        ["artifact", "cosine to the CPU, lowest", "mean", "alone against in a batch, largest difference"],
        note="On the probes of docs/precision.md. Differences are between vectors of length 1.",
    )
    for subject in subjects:
        payloads = [item.payload for item in subject.probes()[:count]]
        alone = _normalized(np.concatenate([subject.model.run([payload]) for payload in payloads]))
        together = _normalized(_in_batches(subject.model, payloads))
        try:
            cosines = np.sum(alone * _normalized(_in_batches(subject.reference, payloads)), axis=1)
            lowest, mean = f"{cosines.min():.7f}", f"{cosines.mean():.7f}"
        except ProviderError as error:  # a build of ONNX Runtime without kernels for the CPU
            lowest = mean = str(error)
        table.add(subject.name, lowest, mean, float(np.abs(alone - together).max()))
    return table


def throughput(subjects: Sequence[Subject], extent: Extent) -> Table:
    table = Table("Throughput of one instance", ["artifact", "length", *(f"batch {n}" for n in extent.batches)])
    table.note = "Inputs a second; length is in tokens."
    for subject in subjects:
        for length in subject.lengths(list(extent.lengths)):
            batches = [subject.batch(count, length) for count in extent.batches]
            table.add(subject.name, length, *(_rate(subject.model, batch, 1, extent.seconds) for batch in batches))
    return table


def latency(subjects: Sequence[Subject], extent: Extent) -> Table:
    table = Table("Latency of one input", ["artifact", "length", "median, ms", "p99, ms"])
    for subject in subjects:
        for length in subject.lengths(list(extent.lengths)):
            batch = subject.batch(1, length)
            taken = _times(lambda batch=batch, subject=subject: subject.model.run(batch), extent.seconds)
            table.add(subject.name, length, statistics.median(taken) * 1e3, float(np.percentile(taken, 99)) * 1e3)
    return table


def instances(subjects: Sequence[Subject], extent: Extent) -> Table:
    """Several batches at once on one session, as the server's instances run them."""
    count = extent.batches[-1]
    table = Table(f"Instances, batches of {count}", ["artifact", "length", *map(str, extent.instances)])
    table.note = "Inputs a second by the number of instances."
    for subject in subjects:
        for length in subject.lengths(list(extent.lengths)):
            batch = subject.batch(count, length)
            rates = [_rate(subject.model, batch, threads, extent.seconds) for threads in extent.instances]
            table.add(subject.name, length, *rates)
    return table


def bindings(subjects: Sequence[Subject], extent: Extent) -> Table:
    """Turn by turn, so that what slows the machine slows all alike."""
    table = Table("IO binding", ["artifact", "length", "batch", "way", "median, ms", f"÷ {PLAIN}"])
    for subject in subjects:
        for length in subject.lengths(list(extent.lengths)):
            for count in (1, extent.batches[-1]):
                for way, milliseconds, ratio in _ways(subject, count, length, extent.seconds):
                    table.add(subject.name, length, count, way, milliseconds, ratio)
    return table


def memory() -> Table:
    table = Table("Memory, after all of this", ["", "MiB"])
    table.add("resident, highest", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=index,memory.used", "--format=csv,noheader,nounits"]
        for line in subprocess.run(query, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
            index, used = line.split(",")
            table.add(f"GPU {index}, all processes", float(used))
    return table


def _ways(subject: Subject, count: int, length: int, seconds: float) -> Iterator[tuple[str, float, float]]:
    rounds = 3
    running = ways(subject, count, length)
    medians: dict[str, list[float]] = {way: [] for way in running}
    for _ in range(rounds):
        for way, run in running.items():
            medians[way].append(statistics.median(_times(run, seconds / rounds)))
    for way, each in medians.items():
        ratios = [mine / plain for mine, plain in zip(each, medians[PLAIN], strict=True)]
        yield way, statistics.median(each) * 1e3, statistics.median(ratios)


def _times(run: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each run; the first, which may compile or allocate, is left out."""
    run()
    taken: list[float] = []
    started = time.perf_counter()
    while not taken or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        run()
        taken.append(time.perf_counter() - before)
    return taken


def _rate(model: AnyModel, batch: Sequence[NDArray[np.int64]], threads: int, seconds: float) -> float:
    """Inputs a second of batches on so many threads."""
    times: list[list[float]] = [[] for _ in range(threads)]

    def work(number: int) -> None:
        times[number] = _times(lambda: model.run(batch), seconds)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(len(batch) * len(each) / sum(each) for each in times)


def _in_batches(model: AnyModel, payloads: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
    return np.concatenate([model.run(payloads[start : start + 16]) for start in range(0, len(payloads), 16)])


def _normalized(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)
