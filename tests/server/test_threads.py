import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vecserve_server.cores import own_cores
from vecserve_server.engine.priority import Priority
from vecserve_server.threads import kept_on, yield_to_others

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness of threads")


def niceness() -> int:
    """Of the calling thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def after_yielding(priority: Priority, before: int = 0) -> int:
    """The niceness of a thread that had one of `before`, or that of this thread if it is nicer."""

    def become_nicer() -> int:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(before, niceness()))
        yield_to_others(priority.niceness)
        return niceness()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(become_nicer).result()


@pytest.mark.skipif("niceness() > 5", reason="these tests are so nice themselves that there is little room above")
def test_interactive_work_lets_the_event_loop_go_first_and_bulk_work_lets_both() -> None:
    assert niceness() < after_yielding(Priority.INTERACTIVE) < after_yielding(Priority.BULK)


@pytest.mark.parametrize("priority", Priority)
def test_a_thread_becomes_nicer_than_it_was_and_at_most_as_nice_as_can_be(priority: Priority) -> None:
    before = list(range(niceness(), 20))

    after = [after_yielding(priority, nice) for nice in before]

    assert all(later > earlier or later == 19 for earlier, later in zip(before, after, strict=True))
    assert max(after) == 19


def test_other_threads_stay_as_they_are() -> None:
    before = niceness()
    after_yielding(Priority.BULK)

    assert niceness() == before


@pytest.mark.parametrize("core", own_cores())
def test_a_thread_is_kept_on_one_core_for_a_while_and_others_are_not(core: int) -> None:
    before, kept = own_cores(), threading.Event()

    with ThreadPoolExecutor(1) as other:
        elsewhere = other.submit(lambda: kept.wait(10) and own_cores())
        with kept_on(core):
            assert own_cores() == [core]
            kept.set()
            assert elsewhere.result() == before

    assert own_cores() == before


@pytest.mark.parametrize("core", [None, 4095])
def test_a_thread_that_is_to_be_on_no_core_or_on_one_that_is_not_there_stays_as_it_is(core: int | None) -> None:
    before = own_cores()

    with kept_on(core):
        assert own_cores() == before
    assert own_cores() == before
