"""The threads that tokenize and decode, and what that costs."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from vecserve_server.engine.cost import Average
from vecserve_server.engine.preparation import Preparation
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import AnyInputs, PreparedItem
from vecserve_server.models.model import AnyModel
from vecserve_server.threads import yield_to_others

# Inputs that are preprocessed between two looks at whether somebody still waits.
_PART_SIZES = {"text": 16, "image": 1}


class Preprocessing:
    """Preprocesses calls off the event loop."""

    def __init__(self, threads: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        # By the kind of inputs as well: what comes as tokens or pixels is only checked.
        self._costs: defaultdict[tuple[str, type[AnyInputs]], Average] = defaultdict(Average)
        # A pool for each modality, or texts of a millisecond would queue behind images of a second.
        self._pools = {
            (modality, priority): ThreadPoolExecutor(
                threads,
                thread_name_prefix=f"prepare-{modality}-{priority.value}",
                initializer=yield_to_others,
                initargs=(priority.niceness,),
            )
            for modality in _PART_SIZES
            for priority in Priority
        }
        self._stopped = False

    def seconds(self, model: AnyModel, inputs: AnyInputs, size: int) -> float:
        """Predicted duration for such inputs, of `size` units; 0 until some were seen."""
        return self._costs[model.name, type(inputs)].seconds * size

    async def prepare(self, model: AnyModel, inputs: AnyInputs, size: int, terms: Terms) -> list[PreparedItem]:
        """Preprocesses inputs of about `size` units, for as long as somebody waits.

        Raises:
            InvalidItemsError: names the inputs that can't be embedded.
            ExpiredError, NotReadyError: the deadline passed, or the engine was stopped.
        """
        preparation = Preparation(
            len(inputs),
            _PART_SIZES[model.manifest.modality],
            lambda part: model.prepare(inputs.part(part)),  # pyright: ignore[reportArgumentType]
            terms.deadline,
            self._clock,
            lambda: self._stopped,
        )

        def prepare_and_measure() -> list[PreparedItem]:
            started = self._clock()
            items = preparation.run()
            self._costs[model.name, type(inputs)].observe(size, self._clock() - started)
            return items

        pool = self._pools[model.manifest.modality, terms.priority]
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, prepare_and_measure)
        finally:
            preparation.abandoned = True

    def stop(self) -> None:
        """Ends the threads; what they are at ends by itself, see Preparation."""
        self._stopped = True
        for pool in self._pools.values():
            pool.shutdown(wait=False)
