"""How true an artifact's vectors are: figures measured when it was exported, and the bounds they kept."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from vecserve_server.models.record import Record

Cosine = Annotated[float, Field(ge=-1, le=1)]
Distance = Annotated[float, Field(ge=0)]

Error = Literal["max_absolute_error", "max_similarity_error", "mean_similarity_error", "max_batch_difference"]
"""Figures that are small in a true artifact: a bound says how large they may be."""

Agreement = Literal[
    "min_cosine",
    "p1_cosine",
    "mean_cosine",
    "min_rank_correlation",
    "mean_rank_correlation",
    "mean_top10_overlap",
    "min_batch_cosine",
]
"""Figures that are near 1 in a true artifact: a bound says how small they may be."""

ERRORS = frozenset(get_args(Error))

Bounds = dict[Error | Agreement, float]


class Fidelity(Record):
    """How the graph, run by ONNX Runtime in batches of mixed lengths, differed from fp32 PyTorch on the probe set.

    Similarities are the cosines between the vectors of two probes. Vectors are not normalized.
    """

    probe_set: Annotated[str, Field(min_length=1)]
    """Figures of one probe set are comparable, and of two are not."""
    samples: Annotated[int, Field(gt=0)]
    max_absolute_error: Distance
    """Largest difference of one component of a vector; vectors with components beyond 1 are divided by the largest of
    them first."""
    min_cosine: Cosine
    """Smallest cosine between a probe's vector and PyTorch's."""
    p1_cosine: Cosine
    """Its 1st percentile."""
    mean_cosine: Cosine
    max_similarity_error: Distance
    """Largest difference of the similarity of two probes."""
    mean_similarity_error: Distance
    min_rank_correlation: Cosine
    """Smallest over the probes of Spearman's correlation of all others, ranked by their similarity to the probe."""
    mean_rank_correlation: Cosine
    mean_top10_overlap: Annotated[float, Field(ge=0, le=1)]
    """Share of a probe's 10 most similar others that are the same, averaged over the probes."""
    max_batch_difference: Distance
    """Largest difference of one component between the unit vectors of a probe alone and in a batch of mixed lengths."""
    min_batch_cosine: Cosine
    """Smallest cosine between a probe's vectors alone and in a batch."""
    bounds: Bounds
    """What figures had to keep for the artifact to be published: at most where they are errors, else at least."""

    @property
    def missed(self) -> list[str]:
        """Each figure that is past its bound, with both values."""
        return [why for figure, bound in self.bounds.items() if (why := self._missed(figure, bound))]

    def _missed(self, figure: Error | Agreement, bound: float) -> str:
        value: float = getattr(self, figure)
        if figure in ERRORS:
            return "" if value <= bound else f"{figure} is {value:.3g}, and at most {bound:g} is allowed"
        return "" if value >= bound else f"{figure} is {value:.7f}, and at least {bound:g} is asked for"
