"""What Prometheus would read of a server."""

import socket
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PATIENCE = 10.0


def free_address() -> str:
    """HOST:PORT that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass(frozen=True)
class Scrape:
    """The samples of one scrape: name, labels, value."""

    samples: list[tuple[str, dict[str, str], float]]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that have these labels."""
        return sum(
            value
            for each, known, value in self.samples
            if each == f"vecserve_{name}" and labels.items() <= known.items()
        )

    def since(self, before: "Scrape | None") -> "Scrape":
        """The same, with counters less what they were."""
        known = {(name, *sorted(labels.items())): value for name, labels, value in before.samples} if before else {}
        counters = "_total", "_count", "_sum", "_bucket"
        return Scrape(
            [
                (name, labels, value - known.get((name, *sorted(labels.items())), 0) * name.endswith(counters))
                for name, labels, value in self.samples
            ]
        )

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The same, by the values of one more label; those that are 0 are left out."""
        values = {known[label] for each, known, _ in self.samples if each == f"vecserve_{name}" and label in known}
        sums = {value: self.total(name, **{label: value}, **labels) for value in values}
        return {value: total for value, total in sums.items() if total}


def scrape(address: str) -> Scrape:
    """Reads the metrics at HOST:PORT."""
    with _DIRECT.open(f"http://{address}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return Scrape([(sample.name, sample.labels, sample.value) for family in families for sample in family.samples])


def scrape_until(address: str, holds: Callable[[Scrape], bool], before: Scrape | None = None) -> Scrape:
    """Reads them until something holds, of counters only what came after `before`.

    A call is counted just after its caller has the answer.
    """
    end = time.monotonic() + _PATIENCE
    while not holds(found := scrape(address).since(before)):
        assert time.monotonic() < end, found.samples
        time.sleep(0.01)
    return found
