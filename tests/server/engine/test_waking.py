import os
import sys
import threading
from collections.abc import Callable

import pytest
from controlled import Begin

from vecserve_server.engine.instances import Instances
from vecserve_server.engine.waking import Waker

CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0

pytestmark = pytest.mark.skipif(CORES < 2, reason="only Linux says where a thread may run, and one core is no choice")


def wake_from_another_thread(
    waker: Waker, error: Exception | None = None, at: set[int] | None = None
) -> tuple[set[int], list[set[int]]]:
    """Where the calling thread may run in the end, and while it is woken from each core, or those of `at`."""
    woken = threading.get_native_id()
    meanwhile: list[set[int]] = []

    def wake() -> None:
        meanwhile.append(os.sched_getaffinity(woken))
        if error:
            raise error

    def wake_from(core: int) -> None:
        os.sched_setaffinity(0, {core})
        if error:
            with pytest.raises(type(error)):
                waker.wake_here(wake)
        else:
            waker.wake_here(wake)

    for core in sorted(at or os.sched_getaffinity(0)):
        thread = threading.Thread(target=wake_from, args=(core,))
        thread.start()
        thread.join()
    return os.sched_getaffinity(0), meanwhile


def test_a_thread_wakes_up_where_it_is_woken_and_may_then_run_as_before() -> None:
    cores = os.sched_getaffinity(0)

    afterwards, meanwhile = wake_from_another_thread(Waker(busy=CORES))

    assert meanwhile == [{core} for core in sorted(cores)]
    assert afterwards == cores


def test_it_wakes_up_anywhere_where_a_core_is_free() -> None:
    cores = os.sched_getaffinity(0)

    afterwards, meanwhile = wake_from_another_thread(Waker(busy=CORES - 1))

    assert meanwhile == [cores] * CORES
    assert afterwards == cores


def test_it_wakes_up_nowhere_where_it_may_not_run() -> None:
    cores = os.sched_getaffinity(0)
    core = min(cores)
    os.sched_setaffinity(0, {core})
    try:
        waker = Waker(busy=CORES)
        afterwards, meanwhile = wake_from_another_thread(waker, at=cores)
    finally:
        os.sched_setaffinity(0, cores)

    assert meanwhile == [{core}] * CORES
    assert afterwards == {core}


def test_it_may_run_as_before_when_it_could_not_be_woken() -> None:
    cores = os.sched_getaffinity(0)

    afterwards, _ = wake_from_another_thread(Waker(busy=CORES), RuntimeError("the event loop is closed"))

    assert afterwards == cores


def test_it_is_woken_where_the_system_lets_no_thread_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    waker = Waker(busy=CORES)
    woken = threading.Event()
    monkeypatch.setattr(os, "sched_setaffinity", refuse)

    waker.wake_here(woken.set)

    assert woken.is_set()


@pytest.mark.parametrize("leaves", [False, True])
async def test_instances_wake_the_event_loop_where_they_are_if_they_leave_a_core(
    leaves: bool, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken_from: list[str] = []
    wake_here = Waker.wake_here

    def note(waker: Waker, wake: Callable[[], object]) -> None:
        woken_from.append(threading.current_thread().name)
        wake_here(waker, wake)

    def leaves_a_core(*_: object) -> bool:
        return leaves

    monkeypatch.setattr(Waker, "wake_here", note)
    monkeypatch.setattr(Instances, "leaves_a_core", leaves_a_core)

    await (await begin("cat"))

    assert woken_from == ["interactive-0"] * leaves
