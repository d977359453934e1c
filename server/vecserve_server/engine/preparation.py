"""One call's preprocessing, in parts: between them it can end early."""

from collections.abc import Callable

from vecserve_server.engine.errors import EngineError, ExpiredError, NotReadyError
from vecserve_server.models.inputs import InvalidItemsError, PreparedItem


class Preparation:
    """Preprocesses a call's inputs on one thread, for as long as somebody waits for them."""

    def __init__(
        self,
        count: int,
        part_size: int,
        prepare: Callable[[slice], list[PreparedItem]],
        deadline: float,
        clock: Callable[[], float],
        stopped: Callable[[], bool],
    ) -> None:
        """Takes the number of inputs, and what preprocesses a slice of at most `part_size` of them."""
        self._parts = [slice(start, start + part_size) for start in range(0, count, part_size)]
        self._prepare = prepare
        self._deadline = deadline
        self._clock = clock
        self._stopped = stopped
        self.abandoned = False
        """Set when nobody waits any more."""

    def run(self) -> list[PreparedItem]:
        """One item per input, in order.

        Raises:
            InvalidItemsError: names every input that can't be embedded.
            ExpiredError, NotReadyError: the deadline passed, or the engine was stopped, before the last part.
        """
        items: list[PreparedItem] = []
        problems: dict[int, str] = {}
        for part in self._parts:
            self._require_wanted()
            try:
                items += self._prepare(part)
            except InvalidItemsError as error:
                problems |= {part.start + index: why for index, why in error.problems.items()}
        if problems:
            raise InvalidItemsError(problems)
        return items

    def _require_wanted(self) -> None:
        if self._stopped():
            raise NotReadyError("the server stopped before the work was done")
        if self._clock() >= self._deadline:
            raise ExpiredError("the deadline passed before the inputs were preprocessed")
        if self.abandoned:
            raise EngineError("nobody waits for this call any more")
