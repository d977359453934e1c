"""The limit: the same models run in a process of their own, without a server around them.

It preprocesses as the server does, with the server's code, on as many threads as the server has instances.
"""

import itertools
import multiprocessing
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.workloads import Workload
from vecserve_server.models.inputs import ImageInputs, InputLimits, TextInputs
from vecserve_server.models.model import AnyModel, TextModel, open_artifact
from vecserve_server.models.repository import find_artifacts
from vecserve_server.models.session import SessionOptions


class InProcess:
    """A process that embeds when it is asked to, and sleeps otherwise."""

    def __init__(self, models: Path, names: Sequence[str], threads: int) -> None:
        """Loads models; what runs alone may have so many threads."""
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(models, names, threads, theirs), daemon=True)
        self._process.start()

    def throughput(self, workload: Workload, batch: int, threads: int, seconds: float) -> float:
        """Units per second in batches of `batch` inputs, in their order."""
        return self._ask(_throughput, workload, batch, threads, seconds)

    def sorted_throughput(self, workload: Workload, batch_tokens: int, threads: int, seconds: float) -> float:
        """Tokens per second in batches cut from all texts sorted by length: hardly any padding."""
        return self._ask(_sorted_throughput, workload, batch_tokens, threads, seconds)

    def latency(self, workload: Workload, calls: int, *, alone: bool = False) -> float:
        """Median seconds of `calls` calls, one after the other: on one thread, or as what runs alone."""
        return self._ask(_latency, workload, calls, alone)

    def close(self) -> None:
        self._process.terminate()
        self._process.join()

    def _ask(self, measure: Callable[..., float], *arguments: Any) -> float:
        self._pipe.send((measure, arguments))
        return self._pipe.recv()


def _serve(models: Path, names: Sequence[str], threads: int, pipe: Connection) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    options = SessionOptions(alone_threads=threads)
    loaded = {
        directory.parent.name: open_artifact(directory, options, InputLimits())
        for directory in find_artifacts(models)
        if directory.parent.name in names
    }
    while True:
        measure, arguments = pipe.recv()
        pipe.send(measure(loaded, *arguments))


def _embed(model: AnyModel, inputs: Sequence[Any], *, alone: bool = False) -> int:
    text = isinstance(model, TextModel)
    items = model.prepare(TextInputs(inputs)) if text else model.prepare(ImageInputs(inputs))
    return len(model.run([item.payload for item in items], alone=alone))


def _throughput(models: dict[str, AnyModel], workload: Workload, batch: int, threads: int, seconds: float) -> float:
    count = max(batch, len(workload.inputs))
    order = list(itertools.islice(itertools.cycle(range(len(workload.inputs))), count))
    return _rate(models, workload, [order[start : start + batch] for start in range(0, count, batch)], threads, seconds)


def _sorted_throughput(
    models: dict[str, AnyModel], workload: Workload, batch_tokens: int, threads: int, seconds: float
) -> float:
    batches: list[list[int]] = [[]]
    for index in sorted(range(len(workload.inputs)), key=lambda index: workload.units[index]):
        if batches[-1] and workload.units[index] * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    random.Random(0).shuffle(batches)
    return _rate(models, workload, batches, threads, seconds)


def _rate(
    models: dict[str, AnyModel], workload: Workload, batches: Sequence[Sequence[int]], threads: int, seconds: float
) -> float:
    """Units per second when each thread takes the next batch, over and over."""
    model = models[workload.model]
    upcoming = itertools.cycle(batches)
    lock = threading.Lock()

    def work(rates: list[float]) -> None:
        started, units = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            with lock:
                batch = next(upcoming)
            _embed(model, [workload.inputs[index] for index in batch])
            units += sum(workload.units[index] for index in batch)
        rates.append(units / (time.perf_counter() - started))

    rates: list[float] = []
    workers = [threading.Thread(target=work, args=(rates,)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)


def _latency(models: dict[str, AnyModel], workload: Workload, calls: int, alone: bool) -> float:
    model = models[workload.model]
    inputs = workload.inputs[: workload.per_call]
    return statistics.median(_seconds(model, inputs, alone=alone) for _ in range(calls))


def _seconds(model: AnyModel, inputs: Sequence[Any], *, alone: bool) -> float:
    started = time.perf_counter()
    _embed(model, inputs, alone=alone)
    return time.perf_counter() - started
