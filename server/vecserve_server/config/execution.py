"""How the models' work is batched, queued and shared out."""

from pydantic import Field
from pydantic_settings import BaseSettings

from vecserve_server.config.types import Count, Seconds, Weight
from vecserve_server.engine.settings import EngineSettings


class ExecutionSettings(BaseSettings):
    """Instances, batches and queues, whose defaults depend on the provider and the cores."""

    instances: Count | None = Field(
        default=None,
        description="batches that run at once; as many as cores by default on a CPU, 2 elsewhere. With --workers it "
        "counts for each: what is set here, or by default its share of the cores",
    )
    intra_op_threads: Count = Field(
        default=1,
        description="threads of one batch; with more, fewer instances by default. 1 gave the most throughput",
    )
    batch_tokens: Count | None = Field(
        default=None,
        description="most tokens of one batch after padding; 1024 by default on a CPU, 16384 elsewhere. Batches are "
        "smaller where warm-up shows that this is as fast",
    )
    batch_images: Count | None = Field(
        default=None, description="most images of one batch; 4 by default on a CPU, 32 elsewhere"
    )
    max_queue_seconds: Seconds = Field(
        default=10.0,
        description="predicted wait beyond which calls are refused as overloaded, with the delay to retry after",
    )
    run_timeout_seconds: Seconds = Field(
        default=60.0,
        description="time after which a batch that runs is given up, or ten times what was predicted if that is "
        "longer: its calls fail, and another instance takes its place. Preprocessing a call may take as long",
    )
    max_failures: Count = Field(
        default=5,
        description="batches of a model that fail or hang in a row before its calls are refused; the server tries it "
        "again after 1 s, then 2, 4 and up to 60 s",
    )
    model_weights: dict[str, Weight] = Field(
        default={},
        description="shares of the instances' time when several models are busy, NAME=SHARE; 1 for models not named. "
        "In the environment as JSON",
    )

    def settings_of_engine(self, cores: int, *, on_cpu: bool) -> EngineSettings:
        """What was set, and for the rest what suits the provider and the number of cores."""
        return EngineSettings(
            instances=self.instances or (max(1, cores // self.intra_op_threads) if on_cpu else 2),
            preprocessing_threads=cores,
            batch_tokens=self.batch_tokens or (1024 if on_cpu else 16384),
            batch_images=self.batch_images or (4 if on_cpu else 32),
            max_queue_seconds=self.max_queue_seconds,
            weights=self.model_weights,
            run_timeout_seconds=self.run_timeout_seconds,
            max_failures=self.max_failures,
        )
