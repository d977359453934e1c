"""Load for a gRPC server, from processes that cost little: unary calls, and streamed ones, in closed and open loops.

    from vecserve_loadtest import ClosedLoop, Load, OpenLoop, Plan, Workload, run_apart

    texts = Workload("/vecserve.v1.EmbeddingService/EmbedText", [request.SerializeToString() for request in requests])
    plan = Plan(
        "127.0.0.1:50051",
        (
            Load("interactive", texts, OpenLoop(rate=50)),
            Load("bulk", texts, ClosedLoop(concurrency=64), connections=4),
        ),
        duration=10,
        warmup=2,
    )
    result = run_apart(plan)
    result.load("interactive").percentiles()  # {50.0: ..., 90.0: ..., 99.0: ..., 99.9: ...}, in seconds

It speaks HTTP/2 itself because a client that shares the server's cores takes from what it measures. With 64 calls of 64
bytes in flight to a grpc.aio server on two cores, a call took 31 to 33 µs of CPU time, against 23 in h2load, which
doesn't see how calls end nor send at a rate of its own, and 212 in grpc.aio's client. Calls that come one by one take
more, 131 µs in an open loop of 1000 per second: each wakes the process twice. Every result tells its own.
"""

from vecserve_loadtest.calls import Ending
from vecserve_loadtest.group import LoadGroup
from vecserve_loadtest.observer import Observer
from vecserve_loadtest.plan import ClosedLoop, Load, OpenLoop, Plan, Workload
from vecserve_loadtest.planfile import read_plan, write_plan
from vecserve_loadtest.process import LoadProcess, run_apart
from vecserve_loadtest.progress import Progress, bucket_percentile, merge_buckets
from vecserve_loadtest.result import Calls, ConnectionCounts, LoadResult, ProcessCost, RunResult, Totals
from vecserve_loadtest.resultfile import read_result, write_calls, write_summary
from vecserve_loadtest.runner import LoadError, run
from vecserve_loadtest.splitting import merge_loads, split_load
from vecserve_loadtest.status import Status
from vecserve_loadtest.summary import summarize

__all__ = [
    "Calls",
    "ClosedLoop",
    "ConnectionCounts",
    "Ending",
    "Load",
    "LoadError",
    "LoadGroup",
    "LoadProcess",
    "LoadResult",
    "Observer",
    "OpenLoop",
    "Plan",
    "ProcessCost",
    "Progress",
    "RunResult",
    "Status",
    "Totals",
    "Workload",
    "bucket_percentile",
    "merge_buckets",
    "merge_loads",
    "read_plan",
    "read_result",
    "run",
    "run_apart",
    "split_load",
    "summarize",
    "write_calls",
    "write_plan",
    "write_summary",
]
