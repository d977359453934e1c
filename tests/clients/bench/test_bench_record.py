import json
from dataclasses import replace
from pathlib import Path

import pytest
from examples import closed_sweep, measured, recorded, sweep

from vecserve_bench.record import Record, RecordError, Search, SearchStep, read_record, record_json, record_schema

SEARCH = Search(
    objective="p99=50ms,errors=0.1%",
    precision=0.05,
    max_rate_per_s=100.0,
    limited_by="server",
    steps=[
        SearchStep(measurement=0, purpose="capacity", holds=None, reasons=[]),
        SearchStep(measurement=1, purpose="confirm", holds=False, reasons=["p99 was 60 ms"]),
    ],
)


@pytest.mark.parametrize(
    "record",
    [
        recorded(measured()),
        recorded(measured(latencies=[])),
        recorded(*closed_sweep(), notes=["a note"]),
        recorded(*sweep(), search=SEARCH),
    ],
)
def test_a_record_comes_out_of_its_file_as_it_went_in(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(record_json(record))

    assert read_record(path) == record


def test_the_files_names_are_those_of_the_documentation() -> None:
    found = json.loads(record_json(recorded(measured())))

    assert found["schema"] == "vecserve-bench/1"
    (measurement,) = found["measurements"]
    assert list(measurement["latency_ms"]["OK"]) == ["calls", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"]
    assert measurement["server"]["stages_ms"] == {"preprocess": 0.5, "queue": 1.5, "infer": 2.0}


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**json.loads(record_json(recorded(measured()))), "new": 1}))

    assert read_record(path) == recorded(measured())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no vecserve-bench/1 file, as --json writes it: the file: Invalid JSON"),
        ("{}", r"schema: Field required"),
        ('{"schema": "vecserve-bench/2"}', "schema: Input should be 'vecserve-bench/1'"),
    ],
)
def test_what_is_no_record_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)

    with pytest.raises(RecordError, match=message):
        read_record(path)


def test_the_schema_describes_every_field_of_a_measurement() -> None:
    properties = record_schema()["$defs"]["Measurement"]["properties"]

    assert properties["throughput_per_s"]["description"] == "Calls that ended OK in the window, per second."
    assert set(properties) == set(json.loads(record_json(recorded(measured())))["measurements"][0])


def test_records_are_values() -> None:
    assert replace(recorded(measured()), title="other") != recorded(measured())
