import re
import socket
import urllib.request
from collections.abc import Callable

import numpy as np
import pytest

from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.observer import Drop, Refusal
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.models.model import TextModel
from vecserve_server.telemetry.metrics import Metrics


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
    """What Prometheus reads of the engine: values by name and labels."""
    metrics.serve(address)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def scrape() -> dict[str, float]:
        with direct.open(f"http://{address}/metrics") as answer:
            text = answer.read().decode()
        lines = re.findall(r"^vecserve_(\S+_(?:total|info)\S*) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in lines}

    return scrape


def batch(*sizes: int, priority: Priority = Priority.INTERACTIVE) -> Batch:
    call = Call(np.zeros((len(sizes), 1), np.float32), np.zeros(len(sizes)), lambda error: None)
    items = [WorkItem(call, index, np.zeros(size), size) for index, size in enumerate(sizes)]
    return Batch("bert", priority, items, 1.0)


def test_nothing_is_told_of_models_that_did_nothing(scrape: Callable[[], dict[str, float]]) -> None:
    assert scrape() == {}


def test_a_model_is_told_with_where_and_how_it_is_computed(
    metrics: Metrics, scrape: Callable[[], dict[str, float]], text_model: TextModel
) -> None:
    metrics.loaded(text_model)

    assert scrape() == {
        'model_info{computed_in="fp32",modality="text",model="tiny-text",precision="fp32",'
        'provider="CPUExecutionProvider",version="1"}': 1
    }


def test_batches_are_told_with_their_items_their_time_and_their_padding(
    metrics: Metrics, scrape: Callable[[], dict[str, float]]
) -> None:
    metrics.ran(batch(10, 8, 9), 0.25, late=1, failed=False)
    metrics.ran(batch(5), 0.5, late=0, failed=False)

    labels = '{model="bert",priority="interactive"}'
    assert scrape() == {
        f"computed_items_total{labels}": 4,
        f"late_items_total{labels}": 1,
        f"batches_total{labels}": 2,
        f"batch_seconds_total{labels}": 0.75,
        f"batch_units_total{labels}": 32,
        f"batch_padding_units_total{labels}": 3,
    }


def test_items_of_failed_batches_were_not_computed(metrics: Metrics, scrape: Callable[[], dict[str, float]]) -> None:
    metrics.ran(batch(10, 8), 0.25, late=0, failed=True)

    told = scrape()

    assert told['failed_items_total{model="bert",priority="interactive"}'] == 2
    assert not any(name.startswith("computed_items") for name in told)


def test_priorities_are_told_apart(metrics: Metrics, scrape: Callable[[], dict[str, float]]) -> None:
    metrics.ran(batch(1, 1, priority=Priority.BULK), 0.25, late=0, failed=False)
    metrics.ran(batch(1), 0.25, late=0, failed=False)

    told = scrape()

    assert told['computed_items_total{model="bert",priority="bulk"}'] == 2
    assert told['computed_items_total{model="bert",priority="interactive"}'] == 1


def test_refused_calls_and_dropped_items_are_told_with_the_reason(
    metrics: Metrics, scrape: Callable[[], dict[str, float]]
) -> None:
    for refusal in (Refusal.QUEUE_FULL, Refusal.DEADLINE, Refusal.DEADLINE):
        metrics.refused("bert", refusal)
    metrics.dropped("bert", Drop.EXPIRED, 3)
    metrics.dropped("bert", Drop.CANCELLED, 2)
    metrics.dropped("resnet", Drop.STOPPED, 1)

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
