"""What execution providers have in common. One whose settings we don't know needs no more than this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from vecserve_server.models.manifest import Manifest


class ProviderError(Exception):
    """The execution provider that was asked for can't run here."""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """An execution provider by the name that ONNX Runtime gives it, with options as ONNX Runtime takes them."""

    name: str
    raw_options: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to the provider's own options, and put in place of those of the same name."""

    packages: ClassVar[str] = "a build of onnxruntime that has it"
    """What to install for it."""
    slower_fusions: ClassVar[tuple[str, ...]] = ()
    """ONNX Runtime's graph optimizers whose fused operators are slower here than the parts."""

    def options(self) -> dict[str, str]:
        """What ONNX Runtime is given for it, raw options included.

        Raises:
            ProviderError: a setting does not fit this machine.
        """
        return dict(self.raw_options)

    def chain(self) -> list[tuple[str, dict[str, str]]]:
        """Itself, then those that it leaves nodes to; the CPU, which ONNX Runtime adds to all, is not named."""
        return [(self.name, self.options())]

    def fitted(self, manifest: Manifest) -> Self:  # noqa: ARG002 (most are the same for every artifact)
        """The same, set up for one artifact."""
        return self

    @property
    def most_items(self) -> int | None:
        """Most items that one run takes, where it was set up for so many."""
        return None

    def computed_in(self, precision: str) -> str:
        """The lowest precision that a graph of `precision` may be computed in."""
        return precision

    def prepare(self) -> None:
        """Gets ready what it needs before a session is made, once or again.

        Raises:
            ProviderError: that can't be done.
        """

    def missing(self) -> list[str]:
        """Sentences that say which library, driver or device it lacks, as far as can be found out."""
        return []


@dataclass(frozen=True, kw_only=True)
class Cpu(Provider):
    """ONNX Runtime's own kernels."""

    name: str = "CPUExecutionProvider"

    # A layer norm fused with the sum before it takes four times as long as both, GELU with its bias a third longer:
    # without, MiniLM is an eighth faster.
    slower_fusions: ClassVar[tuple[str, ...]] = ("SkipLayerNormFusion", "BiasGeluFusion")
