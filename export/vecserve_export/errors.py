"""What can stop an export.

ExportError
    SourceError             weights, configuration or tokenizer can't be had or read
        UnreachableSourceError  they are elsewhere, and the network does not reach there
    UnsupportedModelError   they can, and this exporter or this artifact format can't express the model
    FidelityError           the graph does not compute what PyTorch computes
    ArtifactWriteError      the artifact can't be named or written as asked
"""

from collections.abc import Sequence

_SHOWN = 5


class ExportError(Exception):
    """An export stopped, and nothing was published. The message says what was tried and what to do."""


class SourceError(ExportError):
    """What is to be exported can't be had or read."""


class UnreachableSourceError(SourceError):
    """What is to be exported is elsewhere, and could not be fetched."""


class UnsupportedModelError(ExportError):
    """The model is of a kind that can't be exported."""


class FidelityError(ExportError):
    """The graph differs from PyTorch by more than the precision allows."""


class ArtifactWriteError(ExportError):
    """The artifact can't be named or written as asked."""


def listed(names: Sequence[str]) -> str:
    """Names for a message: the first few, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more or "none"
