"""The `vecserve` command: its parser, and what becomes of errors."""

import argparse
import os
import sys
from collections.abc import Sequence

from vecserve import __version__
from vecserve.commands import delegates, embed, health, models
from vecserve.commands.connection import UsageError
from vecserve.errors import InvalidInputError, VecserveError

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: done. 1: the server or a file failed. 2: wrong usage, or a missing extra. 130: interrupted. 141: whoever read
    the output stopped.

    Args:
        argv: The arguments after the program's name; None takes those of this process.

    Raises:
        SystemExit: From argparse, on wrong usage (2) and after `--help` and `--version` (0).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in delegates.DELEGATES:
            return delegates.run(arguments[0], arguments[1:])
        return _run(build_parser().parse_args(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; each leaves in `run` the function that takes its arguments."""
    parser = argparse.ArgumentParser(
        prog="vecserve",
        description="Embed texts and images, look at the models of a server; export, serve and measure models.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    embed.configure(commands.add_parser("embed", help="embed texts or images"))
    models.configure(commands.add_parser("models", help="list the models of a server"))
    health.configure(commands.add_parser("health", help="ask whether a server serves: 0 if so, 1 if not"))
    for name, delegate in delegates.DELEGATES.items():  # for the help only: these parse their own arguments
        commands.add_parser(name, help=delegate.help, add_help=False)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    try:
        arguments.run(arguments)
        sys.stdout.flush()  # here, where a broken pipe is still expected
    except VecserveError as error:
        return _fail(_described(error))
    except UsageError as error:
        return _fail(f"error: {error}", USAGE)
    except BrokenPipeError:
        # The interpreter flushes stdout once more as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        return _fail("error: tables need rich: pip install 'vecserve[cli]', or ask for --json", USAGE)
    return 0


def _described(error: VecserveError) -> str:
    violations = error.violations if isinstance(error, InvalidInputError) else ()
    told = all(violation.description in error.message for violation in violations)
    lines = [f"{len(violations)} things are wrong:" if told and len(violations) > 1 else error.message]
    if len(violations) > 1 or not told:
        lines += [f"  {violation.field}: {violation.description}" for violation in violations]
    if error.request_id not in error.message:
        lines.append(f"  request id: {error.request_id}")
    return "\n".join(lines)


def _fail(message: str, status: int = FAILED) -> int:
    print(f"vecserve: {message}", file=sys.stderr)
    return status
