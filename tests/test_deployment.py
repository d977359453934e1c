"""What docs/deployment.md shows can be read by those it is for."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from vecserve.channel import _SPREAD  # pyright: ignore[reportPrivateUsage] (the documented service config repeats it)

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "deployment.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)


def kubernetes(kind: str) -> dict[str, Any]:
    (found,) = [each for each in yaml.safe_load_all(blocks("yaml")[1]) if each["kind"] == kind]
    return found


def test_the_compose_file_mounts_models_where_the_image_expects_them() -> None:
    (service,) = yaml.safe_load(blocks("yaml")[0])["services"].values()
    assert "VECSERVE_MODELS=/models" in (ROOT / "Dockerfile").read_text()
    assert service["volumes"] == ["./models:/models:ro"]


def test_the_probes_ask_the_port_that_is_served_for_liveness_and_readiness() -> None:
    pod = kubernetes("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    probes = {name: container[f"{name}Probe"]["grpc"] for name in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in probes.values()} == {50051}
    assert {name: probe["service"] for name, probe in probes.items()} == {
        "startup": "readiness",
        "readiness": "readiness",
        "liveness": "liveness",
    }
    assert pod["terminationGracePeriodSeconds"] > 25


def test_the_service_finds_the_pods_of_the_deployment() -> None:
    labels = kubernetes("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert (
        kubernetes("Service")["spec"]["selector"]
        == labels
        == kubernetes("Deployment")["spec"]["selector"]["matchLabels"]
    )


def test_the_documented_service_config_spreads_as_the_python_client_does() -> None:
    (config,) = map(json.loads, blocks("json"))
    assert json.loads(_SPREAD).items() <= config.items()
