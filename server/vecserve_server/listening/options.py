"""Options of gRPC's core, by their names in `grpc/impl/channel_arg_names.h`."""

from vecserve_server.config import ServerConfig

# A connection that does not come to its first call; gRPC gives it 2 minutes.
_HANDSHAKE_SECONDS = 20.0

_NEVER = 2**31 - 1


def channel_options(config: ServerConfig, *, shares_port: bool) -> list[tuple[str, int]]:
    """What a server of these settings has instead of gRPC's defaults."""
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", config.max_message_bytes),
        # Otherwise a second server on the port would start, and take half of the connections.
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_concurrent_streams", config.max_concurrent_streams),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.server_handshake_timeout_ms", _milliseconds(_HANDSHAKE_SECONDS)),
        ("grpc.max_connection_age_ms", _milliseconds(config.max_connection_age_seconds)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(config.connection_grace_seconds)),
        ("grpc.keepalive_time_ms", _milliseconds(config.keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _milliseconds(config.keepalive_timeout_seconds)),
        # What ends the connection of a client that answers no ping; alone, the option above was seen to end none.
        ("grpc.http2.ping_timeout_ms", _milliseconds(config.keepalive_timeout_seconds)),
        # Clients that wait for work have no calls. Without this they would not be asked whether they are there, and be
        # disconnected for asking that themselves.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(config.min_ping_seconds)),
    ]


def _milliseconds(seconds: float) -> int:
    return min(max(1, round(seconds * 1000)), _NEVER) if seconds else _NEVER
