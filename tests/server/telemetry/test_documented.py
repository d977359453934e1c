"""The documents, the dashboard and the alerts know the metrics that there are, and no others."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecserve_server.engine.call import Call as EngineCall
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.instances import Load
from vecserve_server.engine.observer import Drop, Observer, Refusal
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.terms import Terms
from vecserve_server.engine.timings import Progress
from vecserve_server.models.inputs import TextInputs
from vecserve_server.models.model import TextModel
from vecserve_server.telemetry.calls import Call
from vecserve_server.telemetry.metrics import Metrics

DOCS = Path(__file__).parents[3] / "docs"
DASHBOARD = DOCS / "grafana" / "dashboard.json"
ALERTS = DOCS / "prometheus" / "alerts.yml"

_ROW = re.compile(r"^\| `(vecserve_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
_METRIC = re.compile(r"\b(?:vecserve|process)_\w+")
_SELECTOR = re.compile(r"\b((?:vecserve|process)_\w+)\{([^}]*)\}")
_LABEL = re.compile(r'(\w+)(?:=~|!~|!=|=)"')

# Prometheus adds these to whatever it scrapes.
_OF_THE_TARGET = {"job", "instance"}


@pytest.fixture
def metrics(text_model: TextModel) -> Metrics:
    """Those of a server to which everything has happened once."""
    metrics = Metrics()
    metrics.loaded(text_model)
    metrics.batches.refused("tiny-text", Refusal.QUEUE_FULL)
    metrics.batches.dropped("tiny-text", Drop.EXPIRED, 1)
    call = EngineCall([b""] * 1, lambda error: None)
    batch = Batch("tiny-text", Priority.BULK, [WorkItem(call, 0, np.zeros(1), 1)], 1.0)
    for failed in (True, False):
        metrics.batches.ran(batch, 1.0, 1, failed=failed)
    observed = Call("EmbedText", "me", metrics.calls)
    observed.begin()
    observed.model = text_model
    observed.embeds(TextInputs(["cat"]), Terms(progress=Progress(1.0, 2.0, 3.0, 4.0)))
    message = observed.begin_message()
    for each in (message, observed):
        each.end()
    return metrics


@pytest.fixture
def exposed(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric, by its name in the documents."""
    load = Load({("tiny-text", Priority.BULK): (1, 2)}, 1, {Priority.BULK: 1})

    class Engine(Observer):
        def load(self) -> Load:
            return load

    metrics.watch(Engine(), lambda: True)  # pyright: ignore[reportArgumentType] (only its load is looked at)
    found: dict[str, tuple[str, set[str]]] = {}
    for family in metrics.registry.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[family.name + suffix] = family.type, labels
    return found


@pytest.fixture
def samples(metrics: Metrics) -> dict[str, set[str]]:
    """Labels of each series that Prometheus reads, by its name."""
    return {
        name: {*labels, *_OF_THE_TARGET}
        for family in metrics.registry.collect()
        for name, labels in [(sample.name, sample.labels) for sample in family.samples]
        or [(family.name, {"method", "model", "priority"})]
    }


def expressions() -> Iterator[tuple[str, str]]:
    """Every query of the dashboard, with the panel's title, and of the alerts, with the alert's name."""
    dashboard: Any = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]
    for rule in ALERTS.read_text().split("- alert: ")[1:]:
        yield rule.partition("\n")[0], rule.partition("expr:")[2].partition("labels:")[0]


def test_the_table_of_metrics_is_what_a_server_exposes(exposed: dict[str, tuple[str, set[str]]]) -> None:
    text = (DOCS / "observability.md").read_text()
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in _ROW.findall(text)}

    assert documented == {name: told for name, told in exposed.items() if not name.startswith("process_")}


@pytest.mark.parametrize("place", [f"{number}: {place}" for number, (place, _) in enumerate(expressions())])
def test_queries_ask_for_series_and_labels_that_there_are(samples: dict[str, set[str]], place: str) -> None:
    _, expression = list(expressions())[int(place.partition(":")[0])]
    assert set(_METRIC.findall(expression)) <= samples.keys()
    assert _METRIC.search(expression) or "up{" in expression
    for metric, selector in _SELECTOR.findall(expression):
        assert set(_LABEL.findall(selector)) <= samples[metric]


def test_panels_have_titles_units_and_descriptions_and_take_the_chosen_data_source() -> None:
    dashboard: Any = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) > 20
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_alert_is_explained() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    text = (DOCS / "observability.md").read_text()
    assert len(alerts) >= 8
    assert all(f"`{alert}`" in text for alert in alerts)
    tested = (Path(__file__).parents[2] / "prometheus" / "alerts_test.yml").read_text()
    assert all(f"alertname: {alert}" in tested for alert in alerts)
