"""The command's arguments, and its help."""

import argparse
import os
from pathlib import Path
from typing import Final, get_args

from vecserve_bench.distributions import ONE, BatchSizes, Lengths
from vecserve_bench.objective import Objective
from vecserve_bench.settings import ApiName, Arrivals
from vecserve_bench.values import (
    count,
    counts,
    metadata,
    not_negative,
    percent,
    positive,
    positives,
    seed,
    size,
    typed,
)

DEFAULT_CONCURRENCY: Final = 8
CAPACITY_CONCURRENCY: Final = 64

_DESCRIPTION = """\
Put load on a vecserve server, or any that speaks the Open Inference Protocol, and report what it does to latency.

Without options: 8 calls under way at any time for 10 seconds, each of one short text.
"""

_EXAMPLES = """\
examples:
  vecserve bench --concurrency 64 --connections 4              as fast as 64 clients can
  vecserve bench --rate 200 --duration 30 --html report.html   200 calls a second at random times, and a report
  vecserve bench --find-max-rate --slo p99=50ms                the highest rate that keeps 99 % within 50 ms
  vecserve bench --concurrencies 1,2,4,8,16,32,64              throughput and latency by concurrency
  vecserve bench --texts titles.txt --batch 1:70,8:20,32:10    lines of a file, mostly one a call
  vecserve bench --images photos/ --rate 20                    images of a folder
  vecserve bench --rate 200 --compare before.json              beside a run that --json recorded
  vecserve bench --api oip --model bert --address host:8001    Triton, KServe and others

The load comes from processes of its own. Every report says what they cost, and when they, not the server, were the
limit. In an open loop (--rate) latency counts from when a call was due, so that a server that stalls can't hide it;
calls sent more than 1 ms after that are reported. docs/bench.md says more.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog="vecserve bench",
        usage="%(prog)s [options]",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_load(parser)
    _add_window(parser)
    _add_service(parser)
    _add_content(parser)
    _add_outputs(parser)
    return parser


def _add_load(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("load (one of the first six)")
    one = group.add_mutually_exclusive_group()
    group.add_argument(
        "--concurrency",
        type=typed(count),
        metavar="N",
        help="closed loop: N calls under way at any time (default: 8); with --find-max-rate, those that show the "
        f"capacity (default: {CAPACITY_CONCURRENCY})",
    )
    one.add_argument("--rate", type=typed(positive), metavar="R", help="open loop: R calls a second, come what may")
    one.add_argument(
        "--concurrencies", type=typed(counts), metavar="N,N,...", help="a closed loop at each, one after another"
    )
    one.add_argument("--rates", type=typed(positives), metavar="R,R,...", help="an open loop at each, in turn")
    one.add_argument(
        "--find-max-rate",
        action="store_true",
        help="search the highest rate that meets --slo: ten to twenty measurements",
    )
    one.add_argument(
        "--from", dest="recorded", type=Path, metavar="RUN.json", help="show a recorded run instead of measuring"
    )
    group.add_argument(
        "--slo",
        type=typed(Objective.parse),
        metavar="OBJECTIVE",
        help="what to meet: p99=50ms, or several: p50=10ms,p99.9=0.2s,errors=1%% (errors: 0.1%% if not said). Without "
        "--find-max-rate, the exit status is 1 if a measurement misses it",
    )
    group.add_argument(
        "--precision",
        type=typed(percent),
        default=0.05,
        metavar="PERCENT",
        help="how closely to search (default: 5)",
    )
    group.add_argument(
        "--arrivals",
        choices=get_args(Arrivals),
        default="poisson",
        help="calls of an open loop come at random times, as from many users (the default), or evenly",
    )


def _add_window(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("window and harness")
    group.add_argument("--duration", type=typed(positive), metavar="SECONDS", help="how long to measure (default: 10)")
    group.add_argument(
        "--calls", type=typed(count), metavar="N", help="measure N calls instead, for an hour at most, or --duration"
    )
    group.add_argument(
        "--warmup", type=typed(not_negative), default=2.0, metavar="SECONDS", help="load before that (default: 2)"
    )
    group.add_argument(
        "--drain",
        type=typed(not_negative),
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for the last answers (default: 10)",
    )
    group.add_argument(
        "--connections", type=typed(count), metavar="N", help="HTTP/2 connections (default: one for each process)"
    )
    group.add_argument(
        "--processes", type=typed(count), default=1, metavar="N", help="processes that make the load (default: 1)"
    )
    group.add_argument(
        "--max-in-flight",
        type=typed(count),
        default=10_000,
        metavar="N",
        help="calls of an open loop under way at most; more are held back and reported (default: 10000)",
    )
    group.add_argument(
        "--late-after",
        type=typed(not_negative),
        default=1.0,
        metavar="MS",
        help="a call counts as late when sent so long after it was due (default: 1)",
    )
    group.add_argument(
        "--no-realtime",
        dest="realtime",
        action="store_false",
        help="leave the processes of open loops at ordinary priority, where the system would let them have more",
    )
    group.add_argument(
        "--check-vectors",
        action="store_true",
        help="keep all responses and look, afterwards, whether each has a sound vector for every input",
    )


def _add_service(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("calls")
    group.add_argument(
        "--address",
        default=os.environ.get("VECSERVE_ADDRESS") or "127.0.0.1:50051",
        metavar="ADDRESS",
        help="server to call, HOST:PORT or unix:PATH, without TLS; $VECSERVE_ADDRESS sets the default "
        "(now %(default)s)",
    )
    group.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file of a bearer token, in place of $VECSERVE_TOKEN"
    )
    group.add_argument("--plaintext-token", action="store_true", help="send the token over a network too")
    group.add_argument(
        "--api",
        choices=get_args(ApiName),
        default="typed",
        help="vecserve's own calls, EmbedText and EmbedImage, or the Open Inference Protocol's ModelInfer",
    )
    group.add_argument("--model", default="", metavar="NAME", help="model to call (default: the server's)")
    group.add_argument("--stream", action="store_true", help="send calls over one StreamEmbed a connection")
    group.add_argument(
        "--deadline", type=typed(positive), metavar="SECONDS", help="what each call may take, as clients set it"
    )
    group.add_argument("--prompt", default="", metavar="NAME", help="the model's prompt to put before texts")
    group.add_argument("--priority", choices=["interactive", "bulk"], help="sets x-vecserve-priority")
    group.add_argument(
        "-H",
        "--metadata",
        action="append",
        type=typed(metadata),
        default=[],
        metavar="NAME: VALUE",
        help="metadata of every call, repeatable; values appear in no report",
    )


def _add_content(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("content (at most one of the first five)")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--text", help="this text in every call (default: a sentence of 14 tokens)")
    one.add_argument("--texts", type=Path, metavar="FILE", help="the file's lines, in turn")
    one.add_argument(
        "--words",
        type=typed(Lengths.parse),
        metavar="MEDIAN[:SIGMA[:MIN-MAX]]",
        help="made-up texts whose numbers of words are log-normal, e.g. 32:0.9:4-254; a word is one token of BERT's",
    )
    one.add_argument("--images", type=Path, metavar="FOLDER", help="the folder's images, in turn")
    one.add_argument(
        "--image-size",
        type=typed(size),
        metavar="WxH",
        help="made-up JPEG images of that size (the default of an image model: 500x375)",
    )
    group.add_argument(
        "--batch",
        type=typed(BatchSizes.parse),
        default=ONE,
        metavar="SIZES",
        help="texts or images of a call: N, LEAST-MOST (each as often), or N:WEIGHT,N:WEIGHT,... (default: 1)",
    )
    group.add_argument("--seed", type=typed(seed), default=0, metavar="N", help="of all that is drawn (default: 0)")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument("--json", type=Path, metavar="FILE", help="record of all that was measured; - for stdout")
    group.add_argument("--html", type=Path, metavar="FILE", help="report with plots, in one file that needs no network")
    group.add_argument("--compare", type=Path, metavar="RUN.json", help="show a recorded run beside this one")
    group.add_argument("--title", default="", help="what to call the run in reports")
    group.add_argument("-q", "--quiet", action="store_true", help="show no progress and no tables")
