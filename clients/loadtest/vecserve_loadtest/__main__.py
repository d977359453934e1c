"""`python -m vecserve_loadtest`: carries out a plan that `planfile` wrote."""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from vecserve_loadtest.observer import RemoteObserver
from vecserve_loadtest.planfile import read_plan
from vecserve_loadtest.realtime import become_realtime
from vecserve_loadtest.resultfile import write_calls, write_summary
from vecserve_loadtest.runner import LoadError, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run a plan and return the exit status: 0, or 1 when it could not be run.

    Args:
        argv: The arguments after the program's name; None takes those of this process.
    """
    arguments = _parser().parse_args(argv)
    gc.freeze()  # so that no collection in the midst of a run walks through all that was imported
    try:
        with arguments.plan.open("rb") as file:
            plan = read_plan(file)
        if plan.realtime:
            become_realtime()
        result = run(plan, RemoteObserver(sys.stdin, sys.stdout) if arguments.observed else None)
        write_summary(result, arguments.summary)
        if arguments.calls is not None:
            write_calls(result, arguments.calls)
    except (LoadError, OSError, ValueError) as error:
        print(f"vecserve_loadtest: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vecserve_loadtest", description="Puts load on a gRPC server.")
    parser.add_argument("plan", type=Path, help="file that vecserve_loadtest.write_plan wrote")
    parser.add_argument("--summary", type=Path, required=True, metavar="FILE", help="where to write the summary: JSON")
    parser.add_argument("--calls", type=Path, metavar="FILE", help="where to write every measured call: npz")
    parser.add_argument(
        "--observed",
        action="store_true",
        help="say on stdout when all is ready, and twice a second how it goes; begin at the time that stdin says",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
