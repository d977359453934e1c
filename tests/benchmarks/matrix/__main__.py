"""`make bench-gpu`: everything that is measured of an execution provider, in one run, as tables in Markdown."""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import onnxruntime

from benchmarks.matrix import measures
from benchmarks.matrix.front import front_end
from benchmarks.matrix.measures import Extent
from benchmarks.matrix.subject import Subject
from benchmarks.matrix.table import Table
from vecserve_server.config import ServerConfig
from vecserve_server.cores import available_cores
from vecserve_server.models.model import TextModel
from vecserve_server.models.providers.provider import ProviderError
from vecserve_server.models.repository import find_artifacts
from vecserve_server.models.session import require_provider


def main() -> int:
    arguments = _parse()
    flags = ["--provider", arguments.provider, *arguments.flags]
    options = ServerConfig.from_command_line(flags).session_options(available_cores())
    try:
        require_provider(options.provider)
    except ProviderError as error:
        print(error, file=sys.stderr)
        return 1
    subjects = [Subject(directory, options) for directory in find_artifacts(arguments.models)]
    print(f"## {' '.join(flags[1:])}\n\n{_machine()}\n", flush=True)
    for table in _tables(arguments, subjects, flags):
        print(table, flush=True)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-gpu", description=__doc__)
    parser.add_argument("--provider", default="cuda", help="as of vecserve serve (cuda)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="directory of artifacts")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 32, 64, 128], help="inputs of a batch")
    parser.add_argument("--lengths", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256], help="tokens of a text")
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 2, 4], help="batches at once")
    parser.add_argument("--probes", type=int, default=256, help="inputs whose vectors are compared with the CPU's")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="processes of the server")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement; five times that of calls")
    parser.add_argument("flags", nargs="*", help="flags for the server, after --")
    return parser.parse_args()


def _tables(arguments: argparse.Namespace, subjects: list[Subject], flags: list[str]) -> Iterator[Table]:
    extent = Extent(arguments.batches, arguments.lengths, arguments.instances, arguments.seconds)
    yield measures.loads(subjects)
    yield measures.parity(subjects, arguments.probes)
    yield measures.latency(subjects, extent)
    yield measures.throughput(subjects, extent)
    yield measures.instances(subjects, extent)
    yield measures.bindings(subjects, extent)
    yield measures.memory()
    for subject in subjects:
        if isinstance(subject.model, TextModel):
            yield front_end(arguments.models, subject.name, flags, arguments.workers, 5 * arguments.seconds)


def _machine() -> str:
    device = ""
    if which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        device = subprocess.run(query, stdout=subprocess.PIPE, text=True, check=True).stdout.strip() + "; "
    return (
        f"{time.strftime('%Y-%m-%d')}, {device}{available_cores()} cores, Python {platform.python_version()}, "
        f"ONNX Runtime {onnxruntime.__version__}"
    )


if __name__ == "__main__":
    sys.exit(main())
