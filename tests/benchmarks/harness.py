"""What `vecserve bench` is worth: beside h2load, and on time at half of the server's capacity."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks.measuring import Bench, Figure
from benchmarks.workloads import sentences

_IN_FLIGHT = 64
_WARMUP = 1
_RATE = re.compile(r"finished in .*, ([\d.]+) req/s")
_SUCCEEDED = re.compile(r"(\d+) succeeded, (\d+) failed")


def harness(bench: Bench) -> Iterator[Figure]:
    """The same calls from h2load and from `vecserve bench`, in turn; then an open loop at half of what they reached."""
    if not shutil.which("h2load"):
        print("harness: h2load is not installed (Debian: nghttp2-client)", file=sys.stderr)
        return
    # A B B A: what a machine gains or loses steadily does not count.
    first, theirs, second = _ours(bench), [_h2load(bench), _h2load(bench)], _ours(bench)
    reached = (first["throughput_per_s"] + second["throughput_per_s"]) / 2
    reference = sum(theirs) / 2
    yield Figure("h2load, 64 in flight", reference, "calls/s")
    yield Figure("vecserve bench, 64 in flight", reached, "calls/s")
    yield Figure("vecserve bench / h2load", reached / reference, goal="0.95 to 1.05")
    yield Figure("vecserve bench", first["harness"][0]["cpu_per_call_us"], "µs CPU a call")
    for name, flags in (("", ()), (", ordinary priority", ("--no-realtime",))):
        half = _run(bench, "--rate", f"{reached / 2:.1f}", *flags)
        yield Figure(f"half of that, sent late{name}", 100 * half["sends"]["late_share"], "% of calls", "≤ 1")
        yield Figure(f"half of that, lag, p99{name}", half["sends"]["lag_p99_ms"], "ms")
        yield Figure(f"half of that, latency, p99{name}", half["latency_ms"]["OK"]["p99"], "ms")


def _ours(bench: Bench) -> dict[str, Any]:
    return _run(bench, "--concurrency", str(_IN_FLIGHT))


def _run(bench: Bench, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "vecserve", "bench", "--address", bench.address, "--json", "-"]
    window = ["--duration", str(bench.seconds), "--warmup", str(_WARMUP)]
    done = subprocess.run([*command, *window, *flags], stdout=subprocess.PIPE, check=True)
    (measurement,) = json.loads(done.stdout)["measurements"]
    return measurement


def _h2load(bench: Bench) -> float:
    workload = sentences()
    (message,) = workload.messages
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + len(message).to_bytes(4, "big") + message)
        body.flush()
        done = subprocess.run(
            [
                *("h2load", "-t", "1", "-c", "1", "-m", str(_IN_FLIGHT)),
                *("-D", str(round(bench.seconds)), f"--warm-up-time={_WARMUP}"),
                *("-d", body.name, "-H", "content-type: application/grpc", "-H", "te: trailers"),
                f"http://{bench.address}{workload.method}",
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    succeeded, rate = _SUCCEEDED.search(done.stdout), _RATE.search(done.stdout)
    assert succeeded, done.stdout
    assert rate, done.stdout
    assert int(succeeded[1]), done.stdout
    return float(rate[1])
