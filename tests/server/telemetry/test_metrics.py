import copy
import dataclasses
import re
import socket
import urllib.request
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from prometheus_client import generate_latest

from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.observer import Drop, Refusal
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.models.model import ImageModel, TextModel
from vecserve_server.telemetry.metrics import Metrics

INFO = (
    'model_info{computed_in="fp32",modality="text",model="tiny-text",precision="fp32",'
    'provider="CPUExecutionProvider",version="1"}'
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def address() -> str:
    """HOST:PORT that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def scrape(metrics: Metrics, address: str) -> Callable[[], dict[str, float]]:
    """What Prometheus reads of the engine, but for calls that were not read: values by name and labels."""
    metrics.serve(address)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def scrape() -> dict[str, float]:
        with direct.open(f"http://{address}/metrics") as answer:
            text = answer.read().decode()
        lines = re.findall(r"^vecserve_(\S+_(?:total|info)\S*) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in lines if 'model=""' not in name and "build_info" not in name}

    return scrape


def batch(*sizes: int, priority: Priority = Priority.INTERACTIVE) -> Batch:
    call = Call([b""] * len(sizes), lambda error: None)
    items = [WorkItem(call, index, np.zeros(size), size) for index, size in enumerate(sizes)]
    return Batch("bert", priority, items, 1.0)


def test_nothing_is_told_of_models_that_did_nothing(scrape: Callable[[], dict[str, float]]) -> None:
    assert scrape() == {}


def test_a_model_is_told_with_where_and_how_it_is_computed(
    metrics: Metrics, scrape: Callable[[], dict[str, float]], text_model: TextModel
) -> None:
    metrics.loaded(text_model)

    told = scrape()

    assert told.pop(INFO) == 1
    assert not any(told.values())


def test_what_alerts_are_about_begins_at_0(
    metrics: Metrics, scrape: Callable[[], dict[str, float]], text_model: TextModel
) -> None:
    metrics.loaded(text_model)

    told = scrape()

    for name in ("failed_batches", "failed_items", "late_items"):
        assert told[f'{name}_total{{model="tiny-text",priority="interactive"}}'] == 0
    for reason in ("queue_full", "deadline"):
        assert told[f'refused_calls_total{{model="tiny-text",reason="{reason}"}}'] == 0


def test_nothing_is_told_of_a_model_whose_last_version_has_gone(
    metrics: Metrics, scrape: Callable[[], dict[str, float]], text_model: TextModel, image_model: ImageModel
) -> None:
    newer = copy.copy(text_model)
    newer.version = "2"
    for model in (text_model, image_model, newer):
        metrics.loaded(model)
    metrics.batches.dropped("tiny-text", Drop.EXPIRED, 3)
    before = scrape()

    metrics.unloaded(text_model)
    swapped = scrape()
    metrics.unloaded(newer)
    gone = scrape()

    assert before.keys() - swapped.keys() == {INFO}
    assert swapped['dropped_items_total{model="tiny-text",reason="expired"}'] == 3
    assert gone
    assert all("tiny-image" in series for series in gone)


def test_a_model_that_comes_back_begins_anew(
    metrics: Metrics, scrape: Callable[[], dict[str, float]], text_model: TextModel
) -> None:
    for _ in range(2):
        metrics.loaded(text_model)
        metrics.batches.dropped("tiny-text", Drop.EXPIRED, 3)
        told = scrape()
        metrics.unloaded(text_model)

        assert told['dropped_items_total{model="tiny-text",reason="expired"}'] == 3


def test_batches_are_told_with_their_items_their_time_and_their_padding(
    metrics: Metrics, scrape: Callable[[], dict[str, float]]
) -> None:
    metrics.batches.begin("bert")
    metrics.batches.ran(batch(10, 8, 9), 0.25, late=1, failed=False)
    metrics.batches.ran(batch(5), 0.5, late=0, failed=False)

    labels = '{model="bert",priority="interactive"}'
    assert {name: value for name, value in scrape().items() if value} == {
        f"computed_items_total{labels}": 4,
        f"late_items_total{labels}": 1,
        f"batch_seconds_total{labels}": 0.75,
        f"batch_units_total{labels}": 32,
        f"batch_padding_units_total{labels}": 3,
    }


def test_items_of_failed_batches_were_not_computed(metrics: Metrics, scrape: Callable[[], dict[str, float]]) -> None:
    metrics.batches.begin("bert")
    metrics.batches.ran(batch(10, 8), 0.25, late=0, failed=True)

    told = scrape()

    assert told['failed_items_total{model="bert",priority="interactive"}'] == 2
    assert told['failed_batches_total{model="bert",priority="interactive"}'] == 1
    assert told['computed_items_total{model="bert",priority="interactive"}'] == 0


def test_a_batch_that_ends_after_its_model_has_gone_is_not_told(
    metrics: Metrics, scrape: Callable[[], dict[str, float]], text_model: TextModel
) -> None:
    metrics.loaded(text_model)
    metrics.unloaded(text_model)

    metrics.batches.ran(dataclasses.replace(batch(1), model="tiny-text"), 0.25, late=0, failed=False)

    assert scrape() == {}


def test_priorities_are_told_apart(metrics: Metrics, scrape: Callable[[], dict[str, float]]) -> None:
    metrics.batches.begin("bert")
    metrics.batches.ran(batch(1, 1, priority=Priority.BULK), 0.25, late=0, failed=False)
    metrics.batches.ran(batch(1), 0.25, late=0, failed=False)

    told = scrape()

    assert told['computed_items_total{model="bert",priority="bulk"}'] == 2
    assert told['computed_items_total{model="bert",priority="interactive"}'] == 1


def test_calls_that_are_refused_before_they_are_read_are_of_no_model_and_begin_at_zero(metrics: Metrics) -> None:
    metrics.batches.refused("", Refusal.DEADLINE)

    told = generate_latest(metrics.registry).decode()
    assert 'vecserve_refused_calls_total{model="",reason="deadline"} 1.0' in told
    assert 'vecserve_refused_calls_total{model="",reason="queue_full"} 0.0' in told


def test_refused_calls_and_dropped_items_are_told_with_the_reason(
    metrics: Metrics, scrape: Callable[[], dict[str, float]]
) -> None:
    for refusal in (Refusal.QUEUE_FULL, Refusal.DEADLINE, Refusal.DEADLINE):
        metrics.batches.refused("bert", refusal)
    metrics.batches.dropped("bert", Drop.EXPIRED, 3)
    metrics.batches.dropped("bert", Drop.CANCELLED, 2)
    metrics.batches.dropped("resnet", Drop.STOPPED, 1)

    assert scrape() == {
        'refused_calls_total{model="bert",reason="queue_full"}': 1,
        'refused_calls_total{model="bert",reason="deadline"}': 2,
        'dropped_items_total{model="bert",reason="expired"}': 3,
        'dropped_items_total{model="bert",reason="cancelled"}': 2,
        'dropped_items_total{model="resnet",reason="stopped"}': 1,
    }


def test_an_address_in_use_is_refused(metrics: Metrics, address: str) -> None:
    Metrics().serve(address)

    with pytest.raises(OSError, match="in use"):
        metrics.serve(address)


def test_the_size_of_batches_is_told(metrics: Metrics) -> None:
    metrics.batches.begin("bert")
    for sizes in ((1,), (1, 2, 3), (4,) * 9):
        metrics.batches.ran(batch(*sizes), 0.25, late=0, failed=False)

    def count(most: str) -> float | None:
        labels = {"model": "bert", "priority": "interactive", "le": most}
        return metrics.registry.get_sample_value("vecserve_batch_items_bucket", labels)

    assert [count(most) for most in ("1.0", "2.0", "4.0", "8.0", "16.0", "+Inf")] == [1, 1, 2, 2, 3, 3]
    of_all = {"model": "bert", "priority": "interactive"}
    assert metrics.registry.get_sample_value("vecserve_batch_items_sum", of_all) == 13


def test_versions_and_the_process_are_told(metrics: Metrics) -> None:
    (build,) = [family for family in metrics.registry.collect() if family.name == "vecserve_build"]
    assert build.samples[0].labels["onnxruntime"] == onnxruntime.__version__
    resident = metrics.registry.get_sample_value("process_resident_memory_bytes")
    assert resident
    assert resident > 10 * 2**20
