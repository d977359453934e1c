"""Where the server listens, and how many processes do."""

import sys

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from vecserve_server.config.types import UNIX, Address, Count, FileMode, ListenAddress, Seconds


class ListeningSettings(BaseSettings):
    """The address, and the processes that share it."""

    address: ListenAddress = Field(
        default="127.0.0.1:50051",
        description="HOST:PORT to listen on, where port 0 takes a free one, or unix:PATH. The default is reached from "
        "this machine only; see --tls-cert and --tokens-file before you open it to others",
    )
    socket_mode: FileMode = Field(
        default="660", description="who may connect to a Unix socket: permissions of its file, in octal"
    )
    health_address: Address | None = Field(
        default=None,
        description="HOST:PORT for health checks alone, without TLS or tokens: for probes that know neither, as those "
        "of Kubernetes, and with connections of their own",
    )
    workers: Count = Field(
        default=1,
        description="processes that serve the port, each with models, queues and limits of its own; Linux only. For "
        "where one Python process is the limit, as with a GPU or very cheap models. Clients reach all through several "
        "connections",
    )
    grace_seconds: Seconds = Field(
        default=25.0,
        description="time that accepted calls get to finish after SIGTERM; the default fits Kubernetes' 30 s",
    )

    @field_validator("workers")
    @classmethod
    def _has_one_worker_unless_on_linux(cls, workers: int) -> int:
        if workers > 1 and sys.platform != "linux":
            raise ValueError("must be 1 on this system: only Linux shares a port's connections out to processes")
        return workers

    @field_validator("workers")
    @classmethod
    def _has_one_worker_at_a_unix_socket(cls, workers: int, info: ValidationInfo) -> int:
        if workers > 1 and str(info.data.get("address")).startswith(UNIX):
            raise ValueError("must be 1 with a Unix socket, which the kernel shares out to no several processes")
        return workers
