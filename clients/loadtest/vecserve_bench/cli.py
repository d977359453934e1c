"""`vecserve bench`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from vecserve_bench.api import TargetError
from vecserve_bench.bench import Bench
from vecserve_bench.describing import new_record
from vecserve_bench.display import Display
from vecserve_bench.options import Options, parse
from vecserve_bench.record import Measurement, Record, RecordError, SearchStep, read_record, record_json
from vecserve_bench.report import report
from vecserve_bench.session import Session
from vecserve_bench.terminal import Terminal
from vecserve_bench.work import Work, prepare
from vecserve_loadtest import LoadError

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_STDOUT = Path("-")


def main(argv: Sequence[str]) -> int:
    """Measure, or show what was measured, and return the exit status.

    0: done. 1: the server or a file failed, an objective was missed, or vectors were not sound. 130: interrupted; what
    had been measured until then is reported.

    Raises:
        SystemExit: On wrong usage (2), and after `--help` (0).
    """
    options = parse(argv)
    try:
        return _run(argv, options)
    except (LoadError, RecordError, TargetError, ValueError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _run(argv: Sequence[str], options: Options) -> int:
    before = read_record(options.outputs.compare) if options.outputs.compare else None
    _require_writable(options)
    terminal = Terminal(quiet=options.outputs.quiet)
    if options.recorded:
        _tell(read_record(options.recorded), before, options, terminal, again=True)
        return 0
    work = prepare(options.service, options.content)
    return _measure(argv, options, work, before, terminal)


def _measure(argv: Sequence[str], options: Options, work: Work, before: Record | None, terminal: Terminal) -> int:
    terminal.heading(new_record(argv, options, work, []))
    several = options.searches or len(options.steps) > 1
    session = Session(
        options,
        Bench(options.service.address, work, options.pressure),
        Display(live=not options.outputs.quiet),
        terminal.step if several else _nothing,
    )
    notes: list[str] = []
    try:
        session.run()
    except KeyboardInterrupt:
        if not session.measurements:
            raise
        notes.append(f"interrupted after {len(session.measurements)} measurements")
    record = new_record(argv, options, work, session.measurements, session.search, notes)
    _tell(record, before, options, terminal, again=False)
    return INTERRUPTED if notes else _status(session)


def _nothing(_measurement: Measurement, _step: SearchStep | None) -> None:
    """One measurement is told at the end, in detail."""


def _status(session: Session) -> int:
    missed = session.missed()
    for reason in missed:
        print(f"vecserve bench: the objective is missed: {reason}", file=sys.stderr)
    unsound = any(each.vectors and each.vectors.bad for each in session.measurements)
    nothing = session.search is not None and session.search.max_rate_per_s is None
    return FAILED if missed or unsound or nothing else 0


def _tell(record: Record, before: Record | None, options: Options, terminal: Terminal, *, again: bool) -> None:
    """Print and write what was measured: now, or, `again`, earlier."""
    if again:
        terminal.heading(record)
    terminal.results(record)
    if before:
        terminal.comparison(before, record)
    outputs = options.outputs
    if outputs.json == _STDOUT:
        sys.stdout.buffer.write(record_json(record))
    elif outputs.json:
        outputs.json.write_bytes(record_json(record))
    if outputs.html:
        outputs.html.write_text(report(record, before), "utf-8")


def _require_writable(options: Options) -> None:
    """Find out before a long run, not after it, that its results have nowhere to go."""
    for path in (options.outputs.json, options.outputs.html):
        if path and path != _STDOUT and (path.is_dir() or not path.parent.is_dir()):
            raise ValueError(
                f"{path} can't be written: {'it is a folder' if path.is_dir() else f'{path.parent} is no folder'}"
            )


def _fail(message: str) -> int:
    print(f"vecserve bench: {message}", file=sys.stderr)
    return FAILED
