"""One call, made as the load will make them."""

from vecserve_loadtest import ClosedLoop, Load, Plan, Status, Workload, run

_CONNECT_TIMEOUT = 2.0


class CallError(Exception):
    """A call that failed.

    Attributes:
        status: How it ended.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def call(address: str, workload: Workload, timeout: float = 30.0) -> bytes:
    """Send a workload's first message and return the serialized response.

    Raises:
        CallError: If it fails, or is not answered in time.
        LoadError: If there is no gRPC server at the address.
        ValueError: If the address or the metadata can't be used.
    """
    once = Load("once", workload, ClosedLoop(1), keep_responses="first", calls=1)
    plan = Plan(address, (once,), timeout, drain=0, connect_timeout=_CONNECT_TIMEOUT, poll_interval=0)
    result = run(plan).loads[0]
    if result.responses:
        return result.responses[0]
    if not result.statuses:
        raise CallError(Status.DEADLINE_EXCEEDED, f"{workload.method} was not answered within {timeout:g} s")
    (name,) = result.statuses
    raise CallError(Status[name], result.failures[name])
