"""`make fuzz`: thousands of hostile requests and images at a server of its own, and a verdict."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from running_server import RunningServer, serving

from hardening import memory
from hardening.campaign import Campaign
from hardening.images import heavy_images, hostile_images
from hardening.texts import attacks

_GROWTH = 1.05
_WARM_UP = 0.1  # of the requests: what a server takes for its first calls of each kind is no leak


async def attack(server: RunningServer, options: argparse.Namespace) -> list[str]:
    """Runs every kind of attack, prints what came of it, and returns what is wrong."""
    pid = server.process.pid
    campaign = Campaign(server.address)
    await _all(campaign, options, _WARM_UP)
    before = memory.resident(pid)
    await _all(campaign, options, 1 - _WARM_UP)
    after = await asyncio.to_thread(memory.settled, pid, before * _GROWTH)
    tally = campaign.tally
    print(tally.table())
    seconds, name = tally.slowest
    print(f"\n{tally.total} calls, {len(tally.faults)} faults; the slowest, {name}, took {seconds:.1f} s")
    print(f"the slowest health check meanwhile took {tally.slowest_health * 1e3:.0f} ms")
    print(f"memory: {before:.0f} MiB before, {after:.0f} after, {memory.peak(pid):.0f} at most")
    grown = [f"memory grew from {before:.0f} to {after:.0f} MiB"] if after > before * _GROWTH else []
    logged = [f"the server logged: {line}" for line in server.log if " ERROR " in line or "Traceback" in line]
    return tally.faults + grown + logged


async def _all(campaign: Campaign, options: argparse.Namespace, share: float) -> None:
    seed = options.seed if share > _WARM_UP else options.seed + 1
    broken = int(options.requests * share * 0.2)
    await campaign.broken_protocol(seed, broken)
    await campaign.messages(seed, int(options.requests * share) - broken)
    await campaign.texts(attacks())
    await campaign.images(hostile_images(seed, int(options.images * share)))
    await campaign.images(heavy_images())


def main() -> int:
    """Returns 0 if the server bore everything, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--requests", type=int, default=20_000, help="fuzzed requests, a fifth of them broken framing")
    parser.add_argument("--images", type=int, default=500, help="broken and hostile images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    with serving(options.models) as server:
        faults = asyncio.run(attack(server, options))
        if server.stop():
            faults.append("the server did not end in order")
    for fault in faults[:50]:
        print(fault, file=sys.stderr)
    print(f"{'FAILED' if faults else 'passed'} in {time.monotonic() - started:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
