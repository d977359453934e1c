"""How many calls Python's side of the server answers, by the number of its processes."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from running_server import serving

from benchmarks.matrix.table import Table
from benchmarks.workloads import SERVICE
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_loadtest import ClosedLoop, Load, Plan, Status, Workload, run_apart

_CONNECTIONS = 8
"""For each worker: the kernel deals connections out, and few of them unevenly."""


def front_end(models: Path, model: str, flags: Sequence[str], workers: Sequence[int], seconds: float) -> Table:
    """One short text a call, 64 in flight for each worker."""
    table = Table(
        f"Calls of one short text to {model}",
        ["workers", "calls/s", "median, ms", "p99, ms", "not OK", "load generator, % of a core"],
    )
    request = pb.EmbedTextRequest(model=model, texts=["a cat on a mat in the fog"]).SerializeToString()
    calls = Workload(f"{SERVICE}/EmbedText", [request])
    for count in workers:
        with serving(models, *flags, "--workers", str(count)) as server:
            load = Load("front end", calls, ClosedLoop(64 * count), _CONNECTIONS * count)
            run = run_apart(Plan(server.address, (load,), duration=seconds, warmup=min(1.0, seconds)))
        result = run.loads[0]
        latencies = result.latencies(Status.OK) * 1e3
        failed = int((result.calls.status != Status.OK).sum())
        median, p99 = np.percentile(latencies, (50, 99)).tolist() if len(latencies) else (math.nan, math.nan)
        table.add(count, result.throughput, median, p99, failed, 100 * run.process.core_share)
    return table
