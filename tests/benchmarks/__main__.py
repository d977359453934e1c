"""`make bench`: rounds of scenarios, and a table of their medians."""

import argparse
import json
import platform
import socket
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import onnxruntime
from running_server import serving

from benchmarks.inprocess import InProcess
from benchmarks.measuring import Bench, Figure
from benchmarks.scenarios import SCENARIOS
from benchmarks.workloads import IMAGE_MODEL, TEXT_MODEL
from vecserve_server.config import ServerConfig
from vecserve_server.cores import available_cores


def main() -> int:
    arguments = _parse()
    metrics_address = f"127.0.0.1:{_free_port()}"
    flags = ["--metrics-address", metrics_address, *arguments.flags]
    config, cores = ServerConfig.from_command_line(flags), available_cores()
    instances, alone_threads = config.engine_settings(cores).instances, config.session_options(cores).alone_threads
    inprocess = InProcess(arguments.models, [arguments.text_model, IMAGE_MODEL], alone_threads)
    with serving(arguments.models, *flags) as server:
        bench = Bench(server.address, metrics_address, inprocess, instances, arguments.seconds, arguments.text_model)
        rounds = [_round(bench, arguments.only, number) for number in range(arguments.rounds)]
    inprocess.close()
    print(_report(rounds, instances))
    if arguments.json:
        arguments.json.write_text(json.dumps([_plain(each) for each in rounds], indent=1))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="directory of artifacts")
    parser.add_argument("--text-model", default=TEXT_MODEL, help="what texts are embedded with")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured; medians are shown")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--only", choices=SCENARIOS, action="append", default=[], help="measure this; may be repeated")
    parser.add_argument("--json", type=Path, help="also write every round's figures to this file")
    parser.add_argument("flags", nargs="*", help="flags for the server, after --")
    return parser.parse_args()


def _round(bench: Bench, only: list[str], number: int) -> dict[str, list[Figure]]:
    figures: dict[str, list[Figure]] = {}
    for name, scenario in SCENARIOS.items():
        if not only or name in only:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            figures[name] = list(scenario(bench))
    return figures


def _report(rounds: list[dict[str, list[Figure]]], instances: int) -> str:
    lines = [*_machine(instances), "", "| | median | lowest | highest | |", "|---|---|---|---|---|"]
    measured: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for each in rounds:
        for scenario, figures in each.items():
            for figure in figures:
                measured[scenario, figure.name].append(figure)
    for (scenario, name), figures in measured.items():
        values = [figure.value for figure in figures]
        cells = " | ".join(f"{value:.4g}" for value in (statistics.median(values), min(values), max(values)))
        note = figures[0].unit or (f"goal {figures[0].goal}" if figures[0].goal else "")
        if figures[0].unit and figures[0].goal:
            note += f", goal {figures[0].goal}"
        lines.append(f"| {scenario}: {name} | {cells} | {note} |")
    return "\n".join(lines)


def _machine(instances: int) -> list[str]:
    return [
        f"{time.strftime('%Y-%m-%d')}, {available_cores()} cores of {_processor()}, {instances} instances, "
        f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _plain(figures: dict[str, list[Figure]]) -> dict[str, dict[str, float]]:
    return {scenario: {figure.name: figure.value for figure in each} for scenario, each in figures.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
