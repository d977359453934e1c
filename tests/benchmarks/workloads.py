"""What is embedded: the same inputs in-process and through the server."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_bench.inputs import SENTENCE, drawn_images

SERVICE = "/vecserve.v1.EmbeddingService"
TEXT_MODEL, IMAGE_MODEL = "all-minilm-l6-v2", "resnet50"

SENTENCE_TOKENS = 14
"""The two special ones included."""

# Each is one token of BERT's vocabulary.
_WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state"]
_SPECIAL_TOKENS = 2

SHORTEST, LONGEST = 4, 256
_MEDIAN_TOKENS, _SIGMA = 32, 0.9


@dataclass(frozen=True)
class Workload:
    """Inputs, in calls of `per_call`."""

    kind: Literal["text", "image"]
    model: str
    inputs: Sequence[str] | Sequence[bytes]
    units: Sequence[int]
    """Tokens of each text; 1 for an image."""
    per_call: int = 1

    @property
    def method(self) -> str:
        return f"{SERVICE}/EmbedText" if self.kind == "text" else f"{SERVICE}/EmbedImage"

    @property
    def messages(self) -> list[bytes]:
        """One serialized request for each call."""
        return [self._request(part).SerializeToString() for part in self._parts()]

    @property
    def units_per_call(self) -> list[int]:
        """Units of each message."""
        return [sum(self.units[start : start + self.per_call]) for start in range(0, len(self.units), self.per_call)]

    def _parts(self) -> Iterator[Sequence[str] | Sequence[bytes]]:
        for start in range(0, len(self.inputs), self.per_call):
            yield self.inputs[start : start + self.per_call]

    def _request(self, part: Sequence[str] | Sequence[bytes]) -> pb.EmbedTextRequest | pb.EmbedImageRequest:
        texts = [each for each in part if isinstance(each, str)]
        if texts:
            return pb.EmbedTextRequest(model=self.model, texts=texts)
        images = [pb.Image(content=each) for each in part if isinstance(each, bytes)]
        return pb.EmbedImageRequest(model=self.model, images=images)


def sentences(model: str = TEXT_MODEL, per_call: int = 1) -> Workload:
    """One short text, over and over."""
    return Workload("text", model, [SENTENCE] * per_call, [SENTENCE_TOKENS] * per_call, per_call)


def mixed_texts(model: str, count: int = 1024, per_call: int = 1, seed: int = 0) -> Workload:
    """Texts whose numbers of tokens are drawn log-normally, from 4 to 256, the special tokens included."""
    random = np.random.default_rng(seed)
    drawn = random.lognormal(np.log(_MEDIAN_TOKENS), _SIGMA, count)
    lengths = np.clip(np.rint(drawn), SHORTEST, LONGEST).astype(int)
    texts = [" ".join(random.choice(_WORDS, length - _SPECIAL_TOKENS)) for length in lengths]
    return Workload("text", model, texts, lengths.tolist(), per_call)


def photographs(count: int = 16, seed: int = 0) -> Workload:
    """JPEG files of 500 x 375 pixels: smooth shapes with fine noise, which compress about as photographs do."""
    return Workload("image", IMAGE_MODEL, drawn_images(count=count, seed=seed).items, [1] * count)
