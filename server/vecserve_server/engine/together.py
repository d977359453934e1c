"""Preprocessing on the event loop, for what takes little time."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from vecserve_server.models.inputs import AnyInputs, Prepared, PreparedItem
from vecserve_server.models.model import AnyModel

# Units that are preprocessed in one go: about a millisecond of texts, in which the event loop does nothing else.
_MOST_UNITS = 1024


@dataclass(slots=True)
class _Member:
    """One call of a group."""

    model: AnyModel
    inputs: AnyInputs
    prepared: asyncio.Future[list[PreparedItem]]


@dataclass(eq=False, slots=True)
class _Group:
    """Calls whose inputs are preprocessed in one go."""

    members: list[_Member] = field(default_factory=list[_Member])
    size: int = 0
    """Units of all of them."""
    work: float = 0.0
    """Predicted seconds of computing them."""


class Together:
    """Preprocesses in one go what comes in one round of the event loop, to which it belongs.

    One by one, with the other work of their calls in between, short texts took 45 µs each to tokenize; one after
    another they take 20 µs, as the processor's caches then still hold what the tokenizer needs.
    """

    def __init__(self, on_progress: Callable[[], None]) -> None:
        """Prepares it; `on_progress` is called when there is less work on its way."""
        self._on_progress = on_progress
        self._waiting: deque[_Group] = deque()
        """Not begun; the last one may grow."""
        self._groups: list[_Group] = []
        """Whose calls are not all in the queue yet."""

    def work(self) -> float:
        """Predicted seconds of calls that are on their way into the queue."""
        work = 0.0
        for group in self._groups:
            work += group.work
        return work

    async def prepare(self, model: AnyModel, inputs: AnyInputs, size: int, work: float) -> list[PreparedItem]:
        """Preprocesses inputs, which takes about `size` units; they are predicted to take `work` seconds to compute.

        Raises:
            InvalidItemsError: names the inputs that can't be embedded.
        """
        loop = asyncio.get_running_loop()
        group = self._group_for(size, loop)
        prepared: asyncio.Future[list[PreparedItem]] = loop.create_future()
        group.members.append(_Member(model, inputs, prepared))
        group.size += size
        group.work += work
        try:
            return await prepared
        finally:
            del prepared, group  # an error's traceback leads here, and they to the error

    def _group_for(self, size: int, loop: asyncio.AbstractEventLoop) -> _Group:
        if self._waiting and self._waiting[-1].size + size <= _MOST_UNITS:
            return self._waiting[-1]
        group = _Group()
        if not self._waiting:
            loop.call_soon(self._prepare_next, loop)
        self._waiting.append(group)
        self._groups.append(group)
        return group

    def _prepare_next(self, loop: asyncio.AbstractEventLoop) -> None:
        group = self._waiting.popleft()
        by_model: dict[AnyModel, list[_Member]] = {}
        for member in group.members:
            if not member.prepared.done():  # by its caller's end
                by_model.setdefault(member.model, []).append(member)
        for model, members in by_model.items():
            results = _results(model, [member.inputs for member in members])
            for member, result in zip(members, results, strict=True):
                if isinstance(result, Exception):
                    member.prepared.set_exception(result)
                else:
                    member.prepared.set_result(result)
        loop.call_soon(self._forget, group)  # once they have gone on, into the queue
        if self._waiting:
            loop.call_soon(self._prepare_next, loop)

    def _forget(self, group: _Group) -> None:
        self._groups.remove(group)
        self._on_progress()


def _results(model: AnyModel, calls: Sequence[AnyInputs]) -> Iterator[Prepared | Exception]:
    """What becomes of each call: if together they fail, each alone, as one may be at fault."""
    together = _attempt(model, calls)
    if isinstance(together, Exception) and len(calls) > 1:
        for inputs in calls:
            alone = _attempt(model, [inputs])
            yield alone if isinstance(alone, Exception) else alone[0]
    else:
        yield from [together] if isinstance(together, Exception) else together


def _attempt(model: AnyModel, calls: Sequence[AnyInputs]) -> Sequence[Prepared] | Exception:
    try:
        results = model.prepare_all(calls)  # pyright: ignore[reportArgumentType] (each model takes its own inputs)
        assert len(results) == len(calls)
    except Exception as error:
        return error
    except BaseException as error:  # tokenizers panic with one, and every caller would wait for ever
        failure = RuntimeError(f"preprocessing broke down: {error}")
        failure.__cause__ = error
        return failure
    return results
