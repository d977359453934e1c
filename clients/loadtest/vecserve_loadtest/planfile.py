"""Plans as bytes, from the process that measures to the one that makes the load.

One line of JSON, then the messages of each load in turn, each after its length in 4 bytes, big-endian.
"""

import json
import struct
from dataclasses import asdict, fields
from typing import IO, Any

from vecserve_loadtest.plan import ClosedLoop, Load, OpenLoop, Plan, Workload

_LENGTH = struct.Struct(">I")
_LOOPS: dict[str, type[ClosedLoop | OpenLoop]] = {"closed": ClosedLoop, "open": OpenLoop}


def write_plan(plan: Plan, file: IO[bytes]) -> None:
    """Write a plan to a binary file."""
    head = {**_shallow(plan), "loads": [_load_head(load) for load in plan.loads]}
    file.write(json.dumps(head).encode() + b"\n")
    for load in plan.loads:
        for message in load.workload.messages:
            file.write(_LENGTH.pack(len(message)))
            file.write(message)


def read_plan(file: IO[bytes]) -> Plan:
    """Read a plan from a binary file.

    Raises:
        ValueError: If the file holds no plan, or a value out of its range.
    """
    try:
        head: dict[str, Any] = json.loads(file.readline())
        loads = tuple(_load(each, file) for each in head.pop("loads"))
        return Plan(**head, loads=loads)
    except (KeyError, TypeError, struct.error) as error:
        raise ValueError(f"not a plan of this version of vecserve_loadtest: {error!r}") from error


def _load_head(load: Load) -> dict[str, Any]:
    kind = next(name for name, loop in _LOOPS.items() if isinstance(load.loop, loop))
    workload = {**_shallow(load.workload), "messages": len(load.workload.messages)}
    return {**_shallow(load), "workload": workload, "loop": {"kind": kind, **asdict(load.loop)}}


def _load(head: dict[str, Any], file: IO[bytes]) -> Load:
    loop: dict[str, Any] = head.pop("loop")
    workload: dict[str, Any] = head.pop("workload")
    messages = [_message(file) for _ in range(workload.pop("messages"))]
    metadata = tuple((name, value) for name, value in workload.pop("metadata"))
    return Load(
        **head,
        workload=Workload(**workload, messages=messages, metadata=metadata),
        loop=_LOOPS[loop.pop("kind")](**loop),
    )


def _message(file: IO[bytes]) -> bytes:
    (size,) = _LENGTH.unpack(file.read(_LENGTH.size))
    message = file.read(size)
    if len(message) != size:
        raise ValueError(f"the plan ends in the midst of a message of {size} bytes")
    return message


def _shallow(value: Plan | Load | Workload) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
