"""`make soak`: an hour of mixed load with faults, in which every call is accounted for and memory stays as it is."""

import argparse
import asyncio
import contextlib
import importlib.util
import itertools
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from running_server import RunningServer, serving

from hardening import memory, protocol
from hardening.images import hostile_images
from hardening.messages import IMAGE, INFER, STREAM, TEXT, TEXT_MODEL, Request, fuzzed, png
from vecserve.oip import grpc_inference_service_pb2 as oip
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_loadtest.status import Status

_TIMEOUT = 60.0
_GROWTH = 1.05
_OK = {Status.OK}
_CLIENTS_FAULT = {Status.OK, Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.UNIMPLEMENTED, Status.RESOURCE_EXHAUSTED}
# A server with enough to do refuses, and says when to come back.
_REFUSED = {Status.UNAVAILABLE}
_EXPIRED = {Status.DEADLINE_EXCEEDED, *_REFUSED}
_REQUEST_ID = re.compile("[0-9a-f]{32}")
# Of the memory's levels, which are taken by the second.
_WARM, _MINUTE = 120, 60
FAILING_MODEL = "tiny-text"
_GOOD, _FAILING = "hello world", "crash"


@dataclass
class Line:
    """One kind of load, and how its calls ended."""

    name: str
    allowed: set[Status]
    required: Status
    """How some of them must have ended, or the load tested nothing."""
    sent: int = 0
    endings: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])

    def end(self, code: int, told: str = "") -> None:
        self.endings[Status(code).name] += 1
        if code not in self.allowed:
            self.wrong.append(f"{self.name}: {Status(code).name} {told}")

    def faults(self) -> list[str]:
        """What is wrong with it."""
        answered = self.endings.total()
        lost = [f"{self.name}: {self.sent} sent, {answered} answered"] if answered != self.sent else []
        none = [] if self.endings[self.required.name] else [f"{self.name}: none ended as {self.required.name}"]
        return [*lost, *none, *self.wrong[:5]]

    def row(self) -> str:
        ends = ", ".join(f"{count} {code}" for code, count in self.endings.most_common())
        return (
            f"{self.name:14} {self.sent:>9} {self.endings.total():>9}  {'FAILED' if self.faults() else 'ok':7} {ends}"
        )


@dataclass
class Soak:
    """What a server went through."""

    lines: list[Line]
    memory: list[float]
    """MiB, second by second."""
    unexplained: list[str]
    """Request ids of calls that ended as INTERNAL and are not in the log."""

    def faults(self) -> list[str]:
        """Everything that is wrong."""
        found = [fault for line in self.lines for fault in line.faults()]
        early, late = self._levels()
        if late > early * _GROWTH:
            found.append(f"memory grew from {early:.0f} to {late:.0f} MiB")
        return found + [f"request {each} failed, and the log doesn't say why" for each in self.unexplained[:5]]

    def table(self) -> str:
        early, late = self._levels()
        head = f"{'load':14} {'sent':>9} {'answered':>9}"
        rows = "\n".join(line.row() for line in self.lines)
        levels = f"memory: {early:.0f} MiB in the second quarter, {late:.0f} in the last"
        return f"{head}\n{rows}\n{levels}{self._since_warm()}"

    def _since_warm(self) -> str:
        """The level once every load has been there for a while, and that at the end: each of a minute."""
        if len(self.memory) < _WARM + _MINUTE:
            return ""
        begun, end = (statistics.median(part) for part in (self.memory[_WARM:][:_MINUTE], self.memory[-_MINUTE:]))
        return f"; {begun:.0f} after two minutes, {end:.0f} at the end, {max(self.memory):.0f} at most"

    def _levels(self) -> tuple[float, float]:
        quarter = max(1, len(self.memory) // 4)
        return statistics.median(self.memory[quarter : 2 * quarter]), statistics.median(self.memory[-quarter:])


class _Loads:
    """Every kind of caller, each of which calls until the time is up."""

    def __init__(self, server: RunningServer, seconds: float, seed: int) -> None:
        self.lines: list[Line] = []
        self.failed: list[str] = []
        self._server = server
        self._address = server.address
        self._ends = time.monotonic() + seconds
        self._draw = random.Random(seed)
        self._fuzzed = fuzzed(seed)
        self._images = itertools.cycle([*hostile_images(seed, 82)])
        self._faults = itertools.cycle(protocol.FAULTS)

    async def run(self) -> None:
        async with grpc.aio.insecure_channel(self._address) as channel:
            self._channel = channel
            bulk = (("x-vecserve-priority", "bulk"),)
            await asyncio.gather(
                self._load("texts", {*_OK, *_REFUSED}, Status.OK, self._unary(TEXT, self._text), 4),
                self._load("bulk", {*_OK, *_REFUSED}, Status.OK, self._unary(TEXT, self._texts, metadata=bulk), 1),
                self._load("images", _OK | _REFUSED, Status.OK, self._unary(IMAGE, self._image), 1),
                self._load("OIP", _OK | _REFUSED, Status.OK, self._unary(INFER, self._infer), 2),
                self._load("streams", _OK | _REFUSED, Status.OK, self._stream, 1),
                self._load("deadlines", _OK | _EXPIRED, Status.DEADLINE_EXCEEDED, self._short_deadline, 2),
                self._load("cancelled", {*_OK, *_REFUSED, Status.CANCELLED}, Status.CANCELLED, self._cancelled, 2),
                self._load("bad messages", _CLIENTS_FAULT, Status.INVALID_ARGUMENT, self._bad_message, 1),
                self._load(
                    "bad images",
                    {*_REFUSED, Status.OK, Status.INVALID_ARGUMENT},
                    Status.INVALID_ARGUMENT,
                    self._unary(IMAGE, self._bad_image),
                    1,
                ),
                self._load("bad framing", set(Status), Status.INVALID_ARGUMENT, self._bad_framing, 1),
                self._load("failing runs", {*_REFUSED, Status.INTERNAL}, Status.INTERNAL, self._failing(_FAILING), 1),
                # Those that share a batch with one that fails do, too.
                self._load("their company", {*_OK, *_REFUSED, Status.INTERNAL}, Status.OK, self._failing(_GOOD), 1),
            )

    async def _load(
        self, name: str, allowed: set[Status], required: Status, call: Callable[[Line], Awaitable[None]], at_once: int
    ) -> None:
        line = Line(name, allowed, required)
        self.lines.append(line)

        async def work() -> None:
            while time.monotonic() < self._ends:
                line.sent += 1
                await call(line)
                await asyncio.sleep(self._draw.expovariate(20))

        await asyncio.gather(*(work() for _ in range(at_once)))

    def _unary(self, method: str, request: Callable[[], Any], **options: Any) -> Callable[[Line], Awaitable[None]]:
        async def call(line: Line) -> None:
            sent = self._channel.unary_unary(method)(request().SerializeToString(), timeout=_TIMEOUT, **options)
            line.end((await sent.code()).value[0], await sent.details() or "")

        return call

    async def _stream(self, line: Line) -> None:
        requests = [pb.StreamEmbedRequest(id=str(number), text=self._text()) for number in range(8)]
        call = self._channel.stream_stream(STREAM)((each.SerializeToString() for each in requests), timeout=_TIMEOUT)
        answers = [pb.StreamEmbedResponse.FromString(answer) async for answer in call]
        ids = sorted(answer.id for answer in answers)
        whole = ids == sorted(each.id for each in requests) and not any(answer.HasField("error") for answer in answers)
        line.end((await call.code()).value[0] if whole else Status.DATA_LOSS, f"answers to {ids}")

    async def _short_deadline(self, line: Line) -> None:
        call = self._channel.unary_unary(TEXT)(self._texts().SerializeToString(), timeout=self._draw.uniform(0, 0.02))
        line.end((await call.code()).value[0], await call.details() or "")

    async def _cancelled(self, line: Line) -> None:
        call = self._channel.unary_unary(TEXT)(self._texts().SerializeToString(), timeout=_TIMEOUT)
        await asyncio.sleep(self._draw.uniform(0, 0.03))
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await call
        line.end((await call.code()).value[0])

    async def _bad_message(self, line: Line) -> None:
        request: Request = next(each for each in self._fuzzed if not each.streams)
        call = self._channel.unary_unary(request.method)(request.messages[0], timeout=_TIMEOUT)
        line.end((await call.code()).value[0], await call.details() or "")

    async def _bad_framing(self, line: Line) -> None:
        draw = random.Random(self._draw.random())
        fault = next(self._faults)
        try:
            ended = await asyncio.to_thread(protocol.ending, self._address, fault, draw)
        except TimeoutError:
            line.wrong.append(f"{line.name}: {fault.__name__} was not answered")
            return
        line.end(Status.CANCELLED if ended.code is None else ended.code)

    def _failing(self, text: str) -> Callable[[Line], Awaitable[None]]:
        request = pb.EmbedTextRequest(model=FAILING_MODEL, texts=[text]).SerializeToString()

        async def call(line: Line) -> None:
            sent = self._channel.unary_unary(TEXT)(request, timeout=_TIMEOUT)
            code = await sent.code()
            if code is grpc.StatusCode.INTERNAL:
                self.failed.append(str(dict(await sent.trailing_metadata() or ())["x-request-id"]))
            line.end(code.value[0], await sent.details() or "")

        return call

    def _text(self) -> pb.EmbedTextRequest:
        return pb.EmbedTextRequest(model=TEXT_MODEL, texts=["a cat on a mat " * self._draw.randint(1, 20)])

    def _texts(self) -> pb.EmbedTextRequest:
        return pb.EmbedTextRequest(model=TEXT_MODEL, texts=["a dog in the fog " * 10] * self._draw.randint(1, 16))

    def _image(self) -> pb.EmbedImageRequest:
        return pb.EmbedImageRequest(images=[pb.Image(content=png((self._draw.randint(50, 900), 300)))])

    def _bad_image(self) -> pb.EmbedImageRequest:
        return pb.EmbedImageRequest(images=[pb.Image(content=next(self._images).content)])

    def _infer(self) -> oip.ModelInferRequest:
        tensor = oip.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
        return oip.ModelInferRequest(model_name=TEXT_MODEL, inputs=[tensor], raw_input_contents=[b"\3\0\0\0cat"])


async def soak(server: RunningServer, seconds: float, seed: int = 0) -> Soak:
    """Puts a server that has `FAILING_MODEL` under every load for so many seconds."""
    loads, levels = _Loads(server, seconds, seed), list[float]()

    async def watch() -> None:
        while True:
            levels.append(memory.resident(server.process.pid))
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    await loads.run()
    watching.cancel()
    logged = {each for line in server.log for each in _REQUEST_ID.findall(line)}
    return Soak(loads.lines, levels, [each for each in loads.failed if each not in logged])


def add_failing_model(models: Path, source: Path) -> None:
    """Fills a repository with links to another's models, and the small one whose graph fails at a certain word."""
    for model in source.iterdir():
        (models / model.name).symlink_to(model.resolve())
    file = Path(__file__).parents[1] / "server" / "conftest.py"
    spec = importlib.util.spec_from_file_location("small_artifacts", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_text_artifact(models / FAILING_MODEL / "1")


def main() -> int:
    """Returns 0 if every line holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        add_failing_model(Path(folder), options.models)
        flags = ("--default-text-model", TEXT_MODEL)
        with serving(Path(folder), *flags) as server:
            result = asyncio.run(soak(server, options.minutes * 60, options.seed))
            faults = result.faults() + (["the server did not end in order"] if server.stop() else [])
    print(result.table())
    print(*faults, "FAILED" if faults else "passed", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
