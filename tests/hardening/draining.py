"""SIGTERM under full load: `python -m hardening.draining` does it twenty times."""

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from running_server import RunningServer, serving

from hardening.calling import Callers, Sent
from hardening.messages import WATCH

_LOADED_SECONDS = 1.0
_AFTER_SECONDS = 0.5
_GRACE_SECONDS = 25.0

# Between the server's change of health and its first refusal lies nothing, and their ways here are not the same.
_TOLERANCE_SECONDS = 0.2


@dataclass(frozen=True)
class Drain:
    """What clients saw of a server's end."""

    sent: list[Sent]
    signalled: float
    flipped: float
    """When health was first told to be NOT_SERVING."""
    exited: float
    status: int

    def faults(self) -> list[str]:
        """What should not have happened."""
        return [*self._lost(), *self._order()]

    def table(self) -> str:
        """How many calls ended how, on one line."""
        counts = Counter((call.code.name, "server" if call.by_server else "gRPC") for call in self.sent)
        listed = ", ".join(f"{count} {code} by {who}" for (code, who), count in sorted(counts.items()))
        flip, end = self.flipped - self.signalled, self.exited - self.signalled
        return f"health after {flip * 1e3:.0f} ms, exit after {end:.2f} s; {listed}"

    def _lost(self) -> list[str]:
        unavailable = grpc.StatusCode.UNAVAILABLE
        wrong = [call for call in self.sent if call.code not in (grpc.StatusCode.OK, unavailable)]
        lost = [
            each
            for each in self.sent
            if each.began < self.signalled and each.code is unavailable and not each.by_server
        ]
        return [f"{each.code.name}: {each.told}" for each in (*wrong, *lost)]

    def _order(self) -> list[str]:
        faults: list[str] = []
        if self.status:
            faults.append(f"exit status {self.status}")
        if self.exited - self.signalled > _GRACE_SECONDS:
            faults.append(f"the end took {self.exited - self.signalled:.1f} s")
        refused = min((call.ended for call in self.sent if call.code is not grpc.StatusCode.OK), default=self.exited)
        if self.flipped > refused + _TOLERANCE_SECONDS:
            faults.append(f"a call was refused {self.flipped - refused:.2f} s before health changed")
        if not any(call.code is grpc.StatusCode.OK and call.ended > self.signalled for call in self.sent):
            faults.append("no call was under way at the signal")
        return faults


async def drain(server: RunningServer) -> Drain:
    """Ends a server while it has as much to do as it can."""
    callers, stop = Callers(server.address), asyncio.Event()
    calling = asyncio.create_task(callers.call_until(stop))
    watching = asyncio.create_task(_flipped(server.address))
    await asyncio.sleep(_LOADED_SECONDS)
    signalled = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(server.process.wait, 2 * _GRACE_SECONDS)
    exited = time.monotonic()
    await asyncio.sleep(_AFTER_SECONDS)
    stop.set()
    await calling
    return Drain(callers.sent, signalled, await watching, exited, status)


async def _flipped(address: str) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        async for answer in channel.unary_stream(WATCH)(b""):
            if health_pb2.HealthCheckResponse.FromString(answer).status != health_pb2.HealthCheckResponse.SERVING:
                break
        return time.monotonic()


def main() -> int:
    """Returns 0 if every server ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    faults: list[str] = []
    for number in range(1, options.times + 1):
        with serving(options.models, "--grace-seconds", str(_GRACE_SECONDS)) as server:
            drained = asyncio.run(drain(server))
        found = drained.faults()
        print(f"{number:3}: {drained.table()}", *found[:5], sep="\n     ", flush=True)
        faults += found
    print("FAILED" if faults else "passed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
