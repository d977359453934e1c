"""Where the server listens, and how connections and calls come and go."""

import sys

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from vecserve_server.config.types import Address, Count, Seconds


class ListeningSettings(BaseSettings):
    """The port, the processes that share it, and what one connection may ask of them."""

    address: Address = Field(
        default="127.0.0.1:50051",
        description="HOST:PORT to listen on; port 0 takes a free one. The default is reached from this machine only: "
        "there is no authentication yet",
    )
    workers: Count = Field(
        default=1,
        description="processes that serve the port, each with models, queues and limits of its own; Linux only. For "
        "where one Python process is the limit, as with a GPU or very cheap models. Clients reach all through several "
        "connections",
    )
    max_message_bytes: Count = Field(
        default=64 * 2**20, le=2**31 - 1, description="most bytes of one gRPC message, in both directions"
    )
    max_stream_requests: Count = Field(
        default=16, description="unanswered requests of one stream; a client that sends more waits"
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
