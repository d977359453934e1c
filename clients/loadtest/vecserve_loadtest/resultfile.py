"""Results on disk: the summary as JSON, and every measured call in a NumPy archive."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vecserve_loadtest.result import Calls, ConnectionCounts, LoadResult, ProcessCost, RunResult, Totals
from vecserve_loadtest.summary import summarize

_Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


def write_summary(result: RunResult, path: Path) -> None:
    """Write what `summarize` makes of a result, as JSON."""
    path.write_text(json.dumps(summarize(result), indent=2, allow_nan=False) + "\n")


def write_calls(result: RunResult, path: Path) -> None:
    """Write every measured call, and what was kept of it, as npz.

    The names are the load's position in the plan, a slash, and a column of `Calls`; or `responses` and
    `response_sizes` (all kept responses in a row, and their lengths in bytes), `response_calls` (their positions in
    the columns), and likewise `server_timings` (joined with line feeds) and `timed_calls`; and `carried`.
    """
    arrays = {
        f"{index}/{name}": array for index, load in enumerate(result.loads) for name, array in _pack(load).items()
    }
    with path.open("wb") as file:  # to a path without a suffix, savez would add one
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType] - no array is named like an argument


def read_result(summary: Path, calls: Path) -> RunResult:
    """Return the result that was written to two files."""
    head: dict[str, Any] = json.loads(summary.read_text())
    process: dict[str, Any] = head["process"]
    with np.load(calls) as archive:
        loads = tuple(_load(each, _part(archive, index)) for index, each in enumerate(head["loads"]))
    return RunResult(
        address=head["address"],
        started=head["started"],
        duration=head["duration_s"],
        loads=loads,
        process=ProcessCost(
            process["user_s"], process["system_s"], process["elapsed_s"], process["calls"], process["realtime"]
        ),
    )


def _pack(load: LoadResult) -> _Arrays:
    columns: _Arrays = {field.name: getattr(load.calls, field.name) for field in fields(Calls)}
    responses = list(load.responses.values())
    return {
        **columns,
        "carried": load.carried,
        "responses": np.frombuffer(b"".join(responses), np.uint8),
        "response_sizes": np.array([len(response) for response in responses], np.int64),
        "response_calls": np.array(list(load.responses), np.int64),
        "server_timings": np.frombuffer(
            "\n".join(_one_line(each) for each in load.server_timings.values()).encode(), np.uint8
        ),
        "timed_calls": np.array(list(load.server_timings), np.int64),
    }


def _part(archive: Mapping[str, npt.NDArray[Any]], index: int) -> _Arrays:
    prefix = f"{index}/"
    return {name.removeprefix(prefix): archive[name] for name in archive if name.startswith(prefix)}


def _load(head: dict[str, Any], arrays: _Arrays) -> LoadResult:
    return LoadResult(
        name=head["name"],
        calls=Calls(**{field.name: arrays[field.name] for field in fields(Calls)}),
        totals=Totals(**head["totals"]),
        connections=ConnectionCounts(**head["connections"]),
        responses=dict(zip(arrays["response_calls"].tolist(), _cut(arrays), strict=True)),
        server_timings=dict(zip(arrays["timed_calls"].tolist(), _lines(arrays), strict=True)),
        duration=head["duration_s"],
        late_after=head["late_after_s"],
        ok_in_window=head["ok_in_window"],
        carried=arrays["carried"],
        max_in_flight=head["max_in_flight"],
        held=head["held"],
        failures=head["failures"],
    )


def _one_line(timing: str) -> str:
    return timing.replace("\n", " ")  # which no header may hold, and a broken server may send


def _lines(arrays: _Arrays) -> Sequence[str]:
    joined = arrays["server_timings"].tobytes().decode()
    return joined.split("\n") if joined else []


def _cut(arrays: _Arrays) -> Sequence[bytes]:
    joined = arrays["responses"].tobytes()
    ends: list[int] = np.cumsum(arrays["response_sizes"]).tolist()
    return [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]
