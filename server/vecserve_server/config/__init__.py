"""Every setting of the server: its default, its limits and its reason.

Command-line flags and `VECSERVE_*` environment variables fill it; flags win.
"""

from collections.abc import Sequence
from typing import Self

from pydantic import model_validator
from pydantic_settings import CliApp, SettingsConfigDict

from vecserve_server.config.connections import ConnectionSettings
from vecserve_server.config.execution import ExecutionSettings
from vecserve_server.config.limits import LimitSettings
from vecserve_server.config.listening import ListeningSettings
from vecserve_server.config.models import ModelSettings
from vecserve_server.config.providers import ProviderSettings
from vecserve_server.config.security import SecuritySettings
from vecserve_server.config.telemetry import TelemetrySettings
from vecserve_server.engine.settings import EngineSettings
from vecserve_server.models.session import SessionOptions


class ServerConfig(
    TelemetrySettings,
    ExecutionSettings,
    LimitSettings,
    ProviderSettings,
    ConnectionSettings,
    SecuritySettings,
    ListeningSettings,
    ModelSettings,
):
    """Serves the models in a directory over gRPC.

    Each flag may also be set as an environment variable: --max-batch-items is VECSERVE_MAX_BATCH_ITEMS.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="VECSERVE_",
        cli_prog_name="vecserve serve",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    @model_validator(mode="after")
    def _has_one_worker_with_admin(self) -> Self:
        if self.admin and self.workers > 1:
            raise ValueError(
                f"admin needs workers to be 1, and they are {self.workers}: a call reaches one of them, and the others "
                "would serve other models. poll_models_seconds works with any number"
            )
        return self

    def engine_settings(self, cores: int) -> EngineSettings:
        """How the engine of each worker runs, on a machine of that many cores."""
        return self.settings_of_engine(self._cores_of_worker(cores), on_cpu=self.on_cpu)

    def session_options(self, cores: int) -> SessionOptions:
        """Where and how models run on a machine of that many cores."""
        settings = self.engine_settings(cores)
        provider = self.execution_provider(settings, self.intra_op_threads)
        alone = self.threads_alone(settings.instances * self.intra_op_threads, self._cores_of_worker(cores))
        return SessionOptions(provider, self.intra_op_threads, alone)

    def _cores_of_worker(self, cores: int) -> int:
        return max(1, cores // self.workers)

    def of_worker(self, number: int, address: str) -> Self:
        """The same for one of the workers, counted from 0, which serve on `address`.

        Their metrics are on successive ports: a scrape must reach each, and know which it reached.
        """
        if self.metrics_address is None:
            return self.model_copy(update={"address": address})
        host, _, port = self.metrics_address.rpartition(":")
        metrics_port = int(port) + number if int(port) else 0
        return self.model_copy(update={"address": address, "metrics_address": f"{host}:{metrics_port}"})

    @classmethod
    def from_command_line(cls, argv: Sequence[str]) -> Self:
        """Settings from flags, then from the environment, then defaults.

        Raises:
            pydantic.ValidationError: names every setting whose value is not allowed.
            SystemExit: a flag is unknown, or help was asked for.
        """
        return CliApp.run(cls, cli_args=list(argv))
