"""A share of what `make fuzz` does, by the same code."""

import os

from running_server import RunningServer

from hardening import memory
from hardening.campaign import Campaign
from hardening.images import hostile_images
from hardening.protocol import FAULTS
from hardening.texts import attacks

SEED = int(os.environ.get("VECSERVE_TEST_SEED", "7"))


async def test_random_and_mutated_messages_are_answered_as_the_clients_fault(attacked: RunningServer) -> None:
    campaign = Campaign(attacked.address)

    await campaign.messages(SEED, 400)

    assert campaign.tally.faults == []
    assert campaign.tally.total >= 400


async def test_every_kind_of_broken_framing_ends_in_a_status_or_a_closed_connection(attacked: RunningServer) -> None:
    campaign = Campaign(attacked.address)

    await campaign.broken_protocol(SEED, 2 * len(FAULTS))

    assert campaign.tally.faults == []
    assert campaign.tally.total == 2 * len(FAULTS)


async def test_hostile_images_are_embedded_or_refused_and_leave_no_memory(attacked: RunningServer) -> None:
    campaign = Campaign(attacked.address)
    await campaign.images(hostile_images(SEED, 40))
    before = memory.resident(attacked.process.pid)

    await campaign.images(hostile_images(SEED + 1, 40))

    assert campaign.tally.faults == []
    assert campaign.tally.total == 80
    assert memory.settled(attacked.process.pid, 1.05 * before) <= 1.05 * before


async def test_texts_that_attack_a_tokenizer_hold_nobody_up(attacked: RunningServer) -> None:
    campaign = Campaign(attacked.address)

    await campaign.texts(attacks())

    assert campaign.tally.faults == []
    assert campaign.tally.slowest_health < 1
