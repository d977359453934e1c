import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from grpc_target import ECHO, FAIL, Target, serving

import vecserve_loadtest
from vecserve_loadtest import (
    Calls,
    ClosedLoop,
    Load,
    LoadError,
    LoadProcess,
    LoadResult,
    OpenLoop,
    Plan,
    Workload,
    read_result,
    run,
    run_apart,
    write_calls,
    write_summary,
)
from vecserve_loadtest.__main__ import main

UNREACHABLE = Plan("127.0.0.1:1", (Load("a", Workload(ECHO, [b""]), ClosedLoop(1)),), 0.2, connect_timeout=0.2)


@pytest.fixture
async def target() -> AsyncGenerator[Target, None]:
    async with serving() as target:
        yield target


def plan(target: Target) -> Plan:
    kept = Load(
        "kept", Workload(ECHO, [b"one", b"", b"three"]), ClosedLoop(2), keep_responses="all", server_timing_every=1
    )
    failing = Load("failing", Workload(FAIL, [b"5"]), OpenLoop(50))
    return Plan(target.address, (kept, failing), duration=0.3)


def assert_same(one: LoadResult, other: LoadResult) -> None:
    for field in fields(Calls):
        column, copy = getattr(one.calls, field.name), getattr(other.calls, field.name)
        np.testing.assert_array_equal(column, copy)
        assert column.dtype == copy.dtype
    np.testing.assert_array_equal(one.carried, other.carried)
    assert replace(one, calls=other.calls, carried=other.carried) == other


async def test_a_result_comes_out_of_its_files_as_it_went_in(target: Target, tmp_path: Path) -> None:
    result = await asyncio.to_thread(run, plan(target))
    summary, calls = tmp_path / "summary.json", tmp_path / "calls"
    write_summary(result, summary)
    write_calls(result, calls)

    copy = read_result(summary, calls)

    assert replace(result, loads=()) == replace(copy, loads=())
    for one, other in zip(result.loads, copy.loads, strict=True):
        assert_same(one, other)
    assert set(copy.load("kept").responses.values()) == {b"one", b"", b"three"}


async def test_a_summary_tells_what_was_asked_first(target: Target, tmp_path: Path) -> None:
    write_summary(await asyncio.to_thread(run, plan(target)), tmp_path / "summary.json")
    summary = json.loads((tmp_path / "summary.json").read_text())
    kept, failing = summary["loads"]

    assert kept["statuses"] == {"OK": kept["measured"]}
    assert kept["throughput_per_s"] == pytest.approx(kept["ok_in_window"] / 0.3)
    assert list(kept["latency_ms"]["OK"]) == ["mean", "p50", "p90", "p99", "p99.9", "max"]
    assert list(failing["latency_ms"]) == ["all", "NOT_FOUND"]
    assert failing["failures"] == {"NOT_FOUND": "Failure nº 5"}
    assert summary["process"]["cpu_per_call_us"] > 0


async def test_a_load_in_a_process_of_its_own_measures_the_same_things(target: Target) -> None:
    result = await asyncio.to_thread(run_apart, plan(target))
    kept = result.load("kept")

    assert kept.statuses == {"OK": len(kept.responses)}
    assert set(kept.responses.values()) == {b"one", b"", b"three"}
    assert len(kept.server_timings) == len(kept.calls.status)
    assert result.load("failing").failures == {"NOT_FOUND": "Failure nº 5"}


@pytest.mark.parametrize("watched", [False, True])
async def test_only_a_process_that_is_watched_reports_how_it_goes(target: Target, watched: bool) -> None:
    load = Load("load", Workload(ECHO, [b"one"]), ClosedLoop(1))

    with LoadProcess(Plan(target.address, (load,), 0.8), watched=watched) as process:
        await asyncio.to_thread(process.wait)

    assert bool(process.reports()) is watched


def test_a_process_that_can_not_run_its_plan_says_why() -> None:
    with pytest.raises(LoadError, match=r"^no gRPC server without TLS answers at 127\.0\.0\.1:1 .* refused$"):
        run_apart(UNREACHABLE)


def test_a_process_that_dies_is_told() -> None:
    with LoadProcess(replace(UNREACHABLE, connect_timeout=60)) as process:
        os.kill(process.pid, signal.SIGKILL)

        with pytest.raises(LoadError, match="exit status -9"):
            process.wait()


def test_leaving_the_block_ends_the_process_and_removes_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with LoadProcess(replace(UNREACHABLE, connect_timeout=60)) as process:
        assert list(tmp_path.iterdir())

    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_the_program_refuses_what_is_no_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan").write_bytes(b"{}\n")

    assert main([str(tmp_path / "plan"), "--summary", str(tmp_path / "summary.json")]) == 1
    assert "vecserve_loadtest: not a plan" in capsys.readouterr().err
    assert not (tmp_path / "summary.json").exists()


def test_the_public_names_are_there() -> None:
    assert vecserve_loadtest.__all__ == sorted(vecserve_loadtest.__all__)
    assert all(hasattr(vecserve_loadtest, name) for name in vecserve_loadtest.__all__)
