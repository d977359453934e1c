"""What a benchmark was asked to do. Values only; times are in seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from vecserve_bench.distributions import ONE, BatchSizes, Lengths

ApiName: TypeAlias = Literal["typed", "oip"]
Arrivals: TypeAlias = Literal["poisson", "constant"]


@dataclass(frozen=True, slots=True)
class Service:
    """Which calls are made, and of what."""

    address: str
    api: ApiName = "typed"
    model: str = ""
    """Empty for the server's default."""
    prompt: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    deadline: float | None = None
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What is embedded. At most one of the sources is given; with none, it is one sentence, or made-up images."""

    text: str | None = None
    texts_file: Path | None = None
    words: Lengths | None = None
    images_folder: Path | None = None
    image_size: tuple[int, int] | None = None
    """Width and height of made-up images, in pixels."""
    batch: BatchSizes = ONE
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pressure:
    """How calls are sent, whatever their number."""

    connections: int = 1
    processes: int = 1
    duration: float = 10.0
    warmup: float = 2.0
    drain: float = 10.0
    calls: int | None = None
    """Ends a measurement after so many calls, if `duration` has not."""
    arrivals: Arrivals = "poisson"
    max_in_flight: int = 10_000
    late_after: float = 0.001
    seed: int = 0
    realtime: bool = True
    """Whether the processes of open loops ask for real-time priority."""
    check_vectors: bool = False


@dataclass(frozen=True, slots=True)
class AtConcurrency:
    """A closed loop: so many calls under way at any time."""

    concurrency: int


@dataclass(frozen=True, slots=True)
class AtRate:
    """An open loop: so many calls a second, whatever the answers take."""

    rate: float


Step: TypeAlias = AtConcurrency | AtRate
