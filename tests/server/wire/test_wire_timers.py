"""Timers and strikes, on a clock that tests move."""

import math
from typing import Any, cast

import pytest
from timed_loop import Clock

from vecserve_wire.limits import Limits
from vecserve_wire.timers import Resets, Strikes, Timers


class Peer:
    """Notes what timers do to a connection."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.greeted = True
        self.done: list[str] = []

    def ping(self, content: bytes) -> None:
        assert len(content) == 8
        self.done.append("ping")

    def drain(self) -> None:
        self.done.append("drain")

    def refuse_calls(self) -> None:
        self.done.append("refuse calls")

    def end(self, reason: str) -> None:
        self.done.append(reason)

    def abort(self) -> None:
        self.done.append("abort")


def started(**limits: Any) -> tuple[Clock, Peer, Timers]:
    clock, peer = Clock(), Peer(Limits(**limits))
    timers = Timers(peer, cast(Any, clock))
    timers.start()
    return clock, peer, timers


def test_without_limits_only_the_greeting_is_waited_for() -> None:
    clock, peer, _ = started()
    clock.advance(10**9)
    assert peer.done == []


def test_a_peer_that_does_not_greet_is_given_up() -> None:
    clock, peer, _ = started(handshake=20)
    peer.greeted = False
    clock.advance(19)
    assert peer.done == []
    clock.advance(1)
    assert peer.done == ["abort"]


def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    clock, peer, _ = started(keepalive=60, keepalive_timeout=20)
    clock.advance(59)
    assert peer.done == []
    clock.advance(1)
    assert peer.done == ["ping"]
    clock.advance(19)
    assert peer.done == ["ping"]
    clock.advance(1)
    assert peer.done == ["ping", "ping_timeout"]


def test_a_peer_that_answers_is_asked_again_after_as_long_a_silence() -> None:
    clock, peer, timers = started(keepalive=60, keepalive_timeout=20)
    clock.advance(61)
    timers.heard()  # at 61
    clock.advance(59)
    assert peer.done == ["ping"]
    clock.advance(1)
    assert peer.done == ["ping", "ping"]


def test_a_peer_that_talks_is_not_asked() -> None:
    clock, peer, timers = started(keepalive=60)
    for _ in range(100):
        clock.advance(50)
        timers.heard()
    assert peer.done == []


@pytest.mark.parametrize("_", range(10))
def test_an_old_connection_is_drained_within_a_tenth_of_its_age_and_ended_after_its_grace(_: int) -> None:
    clock, peer, _timers = started(age=1000, age_grace=30)
    clock.advance(899)
    assert peer.done == []
    clock.advance(202)
    assert peer.done[0] == "drain"
    clock.advance(30)
    assert peer.done == ["drain", "max_age"]


def test_connections_made_together_are_not_renewed_together() -> None:
    ages = {started(age=1000)[0].handles[1].at for _ in range(10)}
    assert len(ages) > 1


def test_a_peer_that_does_not_answer_the_last_ping_is_refused_and_one_that_does_not_read_cut_off() -> None:
    clock, peer, timers = started()
    timers.draining()
    clock.advance(2)
    timers.leaving()
    clock.advance(2)
    assert peer.done == ["refuse calls", "abort"]


def test_a_connection_that_is_gone_has_no_timers() -> None:
    clock, peer, timers = started(keepalive=60, age=1000)
    timers.draining()
    timers.leaving()
    timers.stop()
    clock.advance(10**6)
    assert peer.done == []


def strikes(times: list[float], *, idle: bool = True) -> list[bool]:
    counted = Strikes(60)
    return [counted.add(time, idle=idle) for time in times]


def test_the_third_early_ping_in_a_row_is_one_too_many() -> None:
    assert strikes([0, 1, 2, 3]) == [False, False, False, True]


def test_pings_that_keep_their_distance_are_no_strikes_and_forgive_earlier_ones() -> None:
    assert strikes([0, 60, 120, 180]) == [False] * 4
    assert strikes([0, 1, 2, 62, 63, 64]) == [False] * 6


def test_what_the_server_sends_forgives_earlier_pings() -> None:
    counted = Strikes(60)
    for time in range(0, 100, 2):
        assert not counted.add(time, idle=True)
        assert not counted.add(time + 1, idle=True)
        counted.forgive()


def test_pings_of_a_connection_with_calls_are_no_strikes() -> None:
    assert strikes([0, 1, 2, 3, 4], idle=False) == [False] * 5
    assert not Strikes(0).add(-math.inf, idle=True)


def test_resets_are_too_many_when_they_come_quickly() -> None:
    resets = Resets(2, 10.0)
    assert [resets.add(time) for time in (0, 1, 9, 10, 10.5)] == [False, False, True, False, True]
