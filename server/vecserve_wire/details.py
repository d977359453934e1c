"""What is known of a call before its handler is."""

from collections.abc import Callable
from dataclasses import dataclass

from vecserve_wire.headers import Metadata


@dataclass(frozen=True, slots=True)
class Details:
    """A call that begins."""

    method: str
    """/package.Service/Method."""
    invocation_metadata: Metadata
    on_end: Callable[[Callable[[object], None]], None]
    """Has a function called when the call has ended, whichever way."""
