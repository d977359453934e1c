"""How the engine works."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine batches, how much it takes on, and when it gives something up."""

    instances: int
    """Batches that run at once."""
    preprocessing_threads: int
    batch_tokens: int
    """Tokens after padding that no batch of texts exceeds."""
    batch_images: int
    max_queue_seconds: float
    """Predicted wait beyond which calls are refused."""
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Shares of the instances' time by model; 1 where not set."""
    run_timeout_seconds: float = 60.0
    """After which a run is given up, or after ten times its predicted duration if that is longer."""
    max_failures: int = 5
    """Runs of a model in a row that fail before it is taken out."""
