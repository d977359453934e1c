"""How a gRPC channel to a server is set up, sync and aio alike."""

import json
from importlib.metadata import version

import grpc
import grpc.aio

from vecserve.options import Options
from vecserve.security import Tls, is_local

MAX_MESSAGE_BYTES = 64 * 2**20
"""Largest message either way. gRPC's own limit on what it receives, 4 MiB, is 2730 vectors of 384 elements."""

_SEVERAL = ("dns:", "ipv4:", "ipv6:")
"""Targets that may stand for several servers."""

# Requests go to all servers in turn, so that a retry reaches another one; and to none that says in grpc.health.v1 that
# it does not serve, as one that is about to end.
_SPREAD = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})

USER_AGENT = f"vecserve-python/{version('vecserve')}"


def open_channel(options: Options) -> grpc.Channel:
    """Return a channel, with TLS where the options say so. It connects at the first call.

    Raises:
        OSError: If a file of certificates or keys can't be read.
    """
    if options.tls is None:
        return grpc.insecure_channel(options.address, channel_options(options))
    return grpc.secure_channel(options.address, _credentials(options.tls), channel_options(options))


def open_aio_channel(options: Options) -> grpc.aio.Channel:
    """Return a channel of the running event loop. As `open_channel`."""
    if options.tls is None:
        return grpc.aio.insecure_channel(options.address, channel_options(options))
    return grpc.aio.secure_channel(options.address, _credentials(options.tls), channel_options(options))


def channel_options(options: Options) -> list[tuple[str, int | str]]:
    """Return the options of gRPC's core, by their names in `grpc/impl/channel_arg_names.h`."""
    arguments: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.primary_user_agent", USER_AGENT),
        # Otherwise all clients of a process share one connection, and with it one worker of a server that has several.
        ("grpc.use_local_subchannel_pool", 1),
        # Between attempts to connect, calls fail without one. gRPC waits 1 s and up to 120 s: a retry after 0.1 s
        # would not try, and a client would miss for two minutes that its server is back.
        ("grpc.initial_reconnect_backoff_ms", max(1, round(options.retry.initial_backoff * 1000))),
        ("grpc.max_reconnect_backoff_ms", max(1, round(options.retry.max_backoff * 1000))),
        # A server or a load balancer that is lost without a word is noticed while a call waits for it, and the next
        # calls connect anew. Without this, they would wait for it too, until the kernel gives the connection up.
        ("grpc.keepalive_time_ms", 15_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),  # what takes effect; the option before it was seen to have none
    ]
    if options.address.startswith(_SEVERAL):
        arguments.append(("grpc.service_config", _SPREAD))
    if is_local(options.address):
        arguments.append(("grpc.enable_http_proxy", 0))  # gRPC sends even 127.0.0.1 through $http_proxy
    if isinstance(options.tls, Tls) and options.tls.server_name:
        arguments.append(("grpc.ssl_target_name_override", options.tls.server_name))
    return arguments


def _credentials(tls: Tls | grpc.ChannelCredentials) -> grpc.ChannelCredentials:
    return tls.credentials() if isinstance(tls, Tls) else tls
