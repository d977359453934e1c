"""What connections and calls may take, and how long connections live."""

from pydantic import Field
from pydantic_settings import BaseSettings

from vecserve_server.config.types import Count, Seconds, SecondsOrNever


class ConnectionSettings(BaseSettings):
    """Limits that keep a server of 2 GB alive whatever connects to it, and lifetimes for load balancers."""

    max_message_bytes: Count = Field(
        default=64 * 2**20, le=2**31 - 1, description="most bytes of one gRPC message, in both directions"
    )
    max_inflight_bytes: Count = Field(
        default=256 * 2**20,
        description="most bytes of requests that are read and not answered; calls beyond it are refused as overloaded, "
        "and streams wait. A request takes about twice its size",
    )
    max_concurrent_calls: Count = Field(
        default=4096,
        description="calls under way, streams included, beyond which further ones are refused as overloaded before "
        "they are read; health checks are not counted",
    )
    max_stream_requests: Count = Field(
        default=16, description="unanswered requests of one stream; a client that sends more waits"
    )
    max_concurrent_streams: Count = Field(
        default=1024, le=2**31 - 1, description="calls under way on one connection, beyond which its client waits"
    )
    max_connections: Count = Field(
        default=4096, le=2**31 - 1, description="connections beyond which further ones are closed as they come"
    )
    max_connection_age_seconds: SecondsOrNever = Field(
        default=1800.0,
        description="age, give or take a tenth, at which clients are asked to connect anew, so that they find new "
        "servers behind a load balancer, and new certificates; 0 for never",
    )
    connection_grace_seconds: SecondsOrNever = Field(
        default=0.0,
        description="time that calls of such a connection get to finish, after which they fail; 0 for as long as they "
        "take, which streams may need",
    )
    keepalive_seconds: Seconds = Field(
        default=30.0,
        description="silence after which the server asks whether a client is still there: shorter than the idle "
        "timeouts of load balancers, which begin at a minute",
    )
    keepalive_timeout_seconds: Seconds = Field(
        default=20.0, description="time for the answer to that, after which the connection is closed"
    )
    min_ping_seconds: Seconds = Field(
        default=10.0,
        description="least time between a client's own keepalive pings; one that sends them faster is disconnected",
    )
