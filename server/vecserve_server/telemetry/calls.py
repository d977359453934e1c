"""What is known of each call while it is answered, for metrics, traces and logs."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import AnyInputs
from vecserve_server.models.model import AnyModel

UNKNOWN_METHOD = "unknown"
"""In place of the name of a method that this server does not have, which any caller may make up."""


class Caller(Protocol):
    """What gRPC knows of whoever called."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What came with the call."""
        ...

    def peer(self) -> str:
        """Where it came from."""
        ...


class CallObserver:
    """Is told of calls as they begin and end, on the event loop; it must be quick. This one takes no note."""

    def began(self, call: "Call") -> None:
        """A call, or a message of a stream, came in."""

    def ended(self, call: "Call") -> None:
        """It was answered, or given up; all that can be known of it is."""


class CallObservers(CallObserver):
    """Several observers, each told of everything, in order."""

    def __init__(self, observers: Sequence[CallObserver]) -> None:
        self._observers = observers

    def began(self, call: "Call") -> None:
        for observer in self._observers:
            observer.began(call)

    def ended(self, call: "Call") -> None:
        for observer in self._observers:
            observer.ended(call)


@dataclass(slots=True, eq=False)
class Call:
    """One gRPC call, or one message of a stream. Belongs to the event loop."""

    method: str
    """`vecserve.v1.EmbeddingService/EmbedText`, or `UNKNOWN_METHOD`."""
    request_id: str
    observer: CallObserver
    caller: Caller | None = None
    stream: "Call | None" = None
    """The call whose message this is."""
    clock: Callable[[], float] = time.monotonic
    """The engine's, in which `Progress` is told."""
    began: float = field(init=False)
    ended: float = field(init=False, default=0.0)
    model: AnyModel | None = None
    """Once it is known."""
    inputs: AnyInputs | None = None
    """Once the call is with the engine, as are its terms."""
    terms: Terms | None = None
    code: str = "OK"
    """The name of its gRPC status."""
    error: Exception | None = None
    """Why it was refused, or failed."""
    trace: Any = None
    """What a tracing observer keeps of it."""
    trace_id: str = ""

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def peer(self) -> str:
        """Where it came from, as gRPC writes it: `ipv4:10.0.0.7:51234`."""
        if self.stream:
            return self.stream.peer
        return self.caller.peer() if self.caller else ""

    @property
    def seconds(self) -> float:
        """How long it took; of a call that has ended."""
        return self.ended - self.began

    @property
    def model_name(self) -> str:
        """Empty if it named none that is loaded: label values must not come from callers."""
        return self.model.name if self.model else ""

    def embeds(self, inputs: AnyInputs, terms: Terms) -> None:
        """Takes note of what the engine is asked for."""
        self.inputs, self.terms = inputs, terms
        terms.progress.trace = self.trace

    def failed(self, error: Exception, code: str) -> None:
        """Takes note of the status it is answered with."""
        self.error, self.code = error, code

    def begin(self) -> None:
        """Has it followed from now on, and known to what this task does for it."""
        _current.set(self)
        self.observer.began(self)

    def begin_message(self) -> "Call":
        """Begins a message of this stream, which the current task answers."""
        message = Call(self.method, self.request_id, self.observer, stream=self, clock=self.clock)
        message.begin()
        return message

    def pass_by(self) -> None:
        """Has a call followed that was answered at once, without a task of its own."""
        self.observer.began(self)
        self.end()

    def end(self) -> None:
        """Tells the observers that it has ended."""
        self.ended = self.clock()
        self.observer.ended(self)
        self.error = None  # its traceback leads back here: a cycle, left to the garbage collector


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call:
    """The call that this task answers; where there is none, one that nobody follows."""
    return call_if_any() or Call("", "", CallObserver())


def call_if_any() -> Call | None:
    """The call that this task answers."""
    return _current.get()
