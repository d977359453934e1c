"""Where a record's figures come from: the command, the server, this machine."""

import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vecserve import __version__
from vecserve_bench.figures import number
from vecserve_bench.options import Options
from vecserve_bench.record import SCHEMA, Client, Measurement, Record, Search, Server
from vecserve_bench.settings import AtConcurrency
from vecserve_bench.work import Work

_METADATA_FLAGS = ("-H", "--metadata")
_OUTPUT_FLAGS = ("--json", "--html", "--compare", "--title")


def new_record(
    argv: Sequence[str],
    options: Options,
    work: Work,
    measurements: list[Measurement],
    search: Search | None = None,
    notes: Sequence[str] = (),
) -> Record:
    """Return the record of a run that has ended."""
    created = datetime.now(UTC).replace(microsecond=0)
    messages = work.workload.messages
    return Record(
        schema=SCHEMA,
        title=options.outputs.title or _title(options, work),
        created=created.isoformat(),
        command=command(argv),
        settings=_settings(options),
        server=_server(options, work),
        client=_client(),
        work=work.description,
        inputs_per_call=sum(work.sizes) / len(work.sizes),
        bytes_per_call=sum(map(len, messages)) / len(messages),
        objective=str(options.objective) if options.objective else "",
        measurements=measurements,
        search=search,
        notes=[*work.notes, *notes],
    )


def command(argv: Sequence[str]) -> str:
    """Return the command that repeats a run, without where its results went, and without the values of metadata."""
    kept: list[str] = []
    parts = iter(argv)
    for part in parts:
        flag, equals, value = part.partition("=")
        if flag in _OUTPUT_FLAGS:
            None if equals else next(parts, None)
        elif flag in _METADATA_FLAGS:
            kept += [flag, _without_value(value if equals else next(parts, ""))]
        elif part.startswith("-H"):
            kept.append("-H" + _without_value(part[2:]))
        else:
            kept.append(part)
    return shlex.join(["vecserve", "bench", *kept])


def _without_value(metadata: str) -> str:
    return f"{metadata.partition(':')[0]}: ..."


def _title(options: Options, work: Work) -> str:
    model = work.api.model.name or f"{work.kind}s"
    if options.searches and options.objective:
        return f"{model}: highest rate with {options.objective.words.partition(', errors')[0]}"
    if len(options.steps) > 1:
        by = "concurrency" if isinstance(options.steps[0], AtConcurrency) else "rate"
        return f"{model}: latency by {by}"
    step = options.steps[0]
    load = f"{step.concurrency} calls in flight" if isinstance(step, AtConcurrency) else f"{number(step.rate)} calls/s"
    return f"{model}: {load}"


def _settings(options: Options) -> dict[str, Any]:
    """Return what decides the figures, by the names of the command's options."""
    service, content, pressure = options.service, options.content, options.pressure
    return {
        "api": service.api,
        "model": service.model,
        "prompt": service.prompt,
        "stream": service.streamed,
        "deadline_s": service.deadline,
        "metadata": sorted(name for name, _ in service.metadata),
        "text": content.text,
        "texts": None if content.texts_file is None else content.texts_file.name,
        "words": None if content.words is None else str(content.words),
        "images": None if content.images_folder is None else content.images_folder.name,
        "image_size": None if content.image_size is None else "{}x{}".format(*content.image_size),
        "batch": str(content.batch),
        "seed": content.seed,
        "connections": pressure.connections,
        "processes": pressure.processes,
        "duration_s": pressure.duration,
        "calls": pressure.calls,
        "warmup_s": pressure.warmup,
        "drain_s": pressure.drain,
        "arrivals": pressure.arrivals,
        "max_in_flight": pressure.max_in_flight,
        "late_after_ms": pressure.late_after * 1e3,
        "realtime": pressure.realtime,
        "check_vectors": pressure.check_vectors,
    }


def _server(options: Options, work: Work) -> Server:
    model = work.api.model
    return Server(
        address=options.service.address,
        api=options.service.api,
        model=model.name,
        version=model.version,
        digest=model.digest,
        modality=model.modality or work.kind,
        dimensionality=model.dimensionality,
        precision=model.precision,
        execution_provider=model.execution_provider,
        platform=model.platform,
    )


def _client() -> Client:
    return Client(
        vecserve=__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
