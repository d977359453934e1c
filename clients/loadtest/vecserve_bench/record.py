"""A benchmark's outcome, as it stands in its JSON file. Names end in their units.

The file's form is versioned by `SCHEMA`: a new field leaves it, another meaning of one changes it.
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vecserve_bench.figures import number

SCHEMA: Final = "vecserve-bench/1"

_CONFIG = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


@dataclass(config=_CONFIG, kw_only=True)
class Percentiles:
    """Latencies of calls, in milliseconds. Each but the mean is that of one call: nothing is interpolated."""

    calls: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p99_9: Annotated[float, Field(alias="p99.9")]
    max: float


@dataclass(config=_CONFIG, kw_only=True)
class Timeline:
    """The measured window in equal intervals; every list has one element for each."""

    interval_s: float
    due_per_s: list[float]
    """Calls that were to be sent; in a closed loop, that were."""
    ok_per_s: list[float]
    """Calls that ended OK in the interval."""
    failed_per_s: list[float]
    """Calls that ended otherwise."""
    p50_ms: list[float | None]
    """Latency of the OK calls that were due in the interval; null where there is none."""
    p99_ms: list[float | None]
    max_ms: list[float | None]


@dataclass(config=_CONFIG, kw_only=True)
class ServerSplit:
    """Where the time went, from the `server-timing` trailers of some OK calls: means, in milliseconds."""

    samples: int
    stages_ms: dict[str, float]
    """By the server's own names, in its order: `preprocess`, `queue` and `infer`."""
    rest_ms: float
    """What is left of the same calls' latency: gRPC, network, and the wait to be sent."""


@dataclass(config=_CONFIG, kw_only=True)
class Sends:
    """How well an open loop kept its schedule. In a closed loop every call is sent when it is due."""

    late: int
    """Calls sent more than `late_after_ms` after they were due."""
    late_share: float
    late_after_ms: float
    held: int
    """Calls kept back because too many were under way, or no connection took them; the server's doing."""
    unsent: int
    """Calls that were due and never sent."""
    lag_p50_ms: float
    """From when a call was due to when it was sent."""
    lag_p99_ms: float
    lag_p99_9_ms: float
    lag_max_ms: float


@dataclass(config=_CONFIG, kw_only=True)
class HarnessProcess:
    """What a process that made the load took, within the window."""

    cpu_per_call_us: float | None
    core_share: float
    """CPU time over elapsed time. Near 1 the harness was the bottleneck."""
    realtime: bool
    """Whether it had real-time priority, as open loops have where the system allows it."""


@dataclass(config=_CONFIG, kw_only=True)
class Connections:
    """What became of connections, over the whole run."""

    opened: int
    lost: int
    refused: int
    error: str
    """Why the latest was lost or refused."""


@dataclass(config=_CONFIG, kw_only=True)
class VectorCheck:
    """What was found in the responses, all of which were decoded after the run."""

    responses: int
    bad: int
    example: str
    """What was wrong with the first bad one."""


@dataclass(config=_CONFIG, kw_only=True)
class Measurement:
    """One window at one load."""

    loop: Literal["closed", "open"]
    concurrency: int | None
    """Calls under way in a closed loop."""
    rate_per_s: float | None
    """Calls per second of an open loop."""
    duration_s: float
    calls: int
    """Measured calls: of a closed loop those that ended in the window, of an open loop those due in it."""
    offered_per_s: float | None
    """Calls that were due, per second; null in a closed loop."""
    throughput_per_s: float
    """Calls that ended OK in the window, per second."""
    inputs_per_s: float
    """Texts or images of those calls, per second."""
    statuses: dict[str, int]
    """Measured calls by gRPC status."""
    failures: dict[str, str]
    """The first message of each status but OK, over the whole run."""
    latency_ms: dict[str, Percentiles]
    """By status, and of all calls as `all`. Counts from when a call was due."""
    distribution_ms: list[tuple[float, float]]
    """Percentile (0 to 100) and latency of the OK calls, five points for each halving of the rest above it."""
    timeline: Timeline
    server: ServerSplit | None
    """Null where the server tells nothing, and for streams."""
    sends: Sends
    max_in_flight: int
    """Most calls under way at once; with several processes, the sum of theirs."""
    connections: Connections
    harness: list[HarnessProcess]
    vectors: VectorCheck | None = None
    warnings: list[str] = field(default_factory=list[str])
    """What speaks against these figures."""

    @property
    def error_share(self) -> float:
        """Share of the measured calls that were not OK; 1 where there was no call."""
        return (self.calls - self.statuses.get("OK", 0)) / self.calls if self.calls else 1.0


@dataclass(config=_CONFIG, kw_only=True)
class SearchStep:
    """One trial of a search."""

    measurement: int
    """Index in `measurements`."""
    purpose: Literal["capacity", "bracket", "bisect", "repeat", "confirm"]
    holds: bool | None
    """Whether the objective was met; null for the run that measures the capacity."""
    reasons: list[str]
    """How it was missed."""


@dataclass(config=_CONFIG, kw_only=True)
class Search:
    """The highest rate within an objective."""

    objective: str
    precision: float
    max_rate_per_s: float | None
    """Null if no rate held."""
    limited_by: Literal["server", "harness", "nothing"]
    """What the rates above ran into."""
    steps: list[SearchStep]


@dataclass(config=_CONFIG, kw_only=True)
class Server:
    """Who was called, as it describes itself."""

    address: str
    api: str
    model: str
    version: str
    digest: str
    modality: str
    dimensionality: int
    precision: str
    execution_provider: str
    platform: str


@dataclass(config=_CONFIG, kw_only=True)
class Client:
    """Where the load came from."""

    vecserve: str
    python: str
    platform: str
    processor: str
    cores: int


@dataclass(config=_CONFIG, kw_only=True)
class Record:
    """Everything that a report shows."""

    schema: Literal["vecserve-bench/1"]
    title: str
    created: str
    """ISO 8601, UTC."""
    command: str
    """What was run, without the values of metadata."""
    settings: dict[str, Any]
    """The command's options by their names; metadata without values."""
    server: Server
    client: Client
    work: str
    """What was embedded."""
    inputs_per_call: float
    bytes_per_call: float
    """Size of a serialized request on average."""
    objective: str
    """What `--slo` asked for; empty where nothing."""
    measurements: list[Measurement]
    search: Search | None
    notes: list[str]


def load_name(measurement: Measurement) -> str:
    """Return what a measurement's load is called, e.g. `16 in flight` or `250 calls/s`."""
    if measurement.rate_per_s is None:
        return f"{measurement.concurrency} in flight"
    return f"{number(measurement.rate_per_s)} calls/s"


class RecordError(Exception):
    """A file holds no record of this form."""


_RECORD = TypeAdapter(Record)


def record_json(record: Record) -> bytes:
    """Return a record as JSON."""
    return _RECORD.dump_json(record, by_alias=True, indent=1) + b"\n"


def read_record(path: Path) -> Record:
    """Read a record as `record_json` writes it.

    Raises:
        OSError: If the file can't be read.
        RecordError: If it holds something else.
    """
    try:
        return _RECORD.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RecordError(
            f"{path} is no {SCHEMA} file, as --json writes it: {where}: {first['msg']} ({error.error_count()} errors)"
        ) from error


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    return _RECORD.json_schema(mode="serialization")
