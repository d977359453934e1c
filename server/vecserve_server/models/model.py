"""Loaded models: preprocessing and graph under one name and version."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecserve_server.models.agreement import check_graph
from vecserve_server.models.image import ImagePreprocessor
from vecserve_server.models.inputs import (
    AnyImageInputs,
    AnyTextInputs,
    InputLimits,
    InvalidItemsError,
    PixelInputs,
    Prepared,
    PreparedItem,
    TextInputs,
    TokenInputs,
)
from vecserve_server.models.manifest import (
    GRAPH_FILE,
    TOKENIZER_FILE,
    ArtifactError,
    ImageInput,
    Manifest,
    TextInput,
)
from vecserve_server.models.pixels import prepare_pixels
from vecserve_server.models.providers.provider import ProviderError
from vecserve_server.models.session import Graph, SessionOptions
from vecserve_server.models.text import TextPreprocessor, pad
from vecserve_server.models.tokens import prepare_tokens

# Of English in a WordPiece vocabulary; other scripts have more bytes in a character and fewer characters in a token.
_BYTES_PER_TOKEN = 4

InputsT = TypeVar("InputsT", AnyTextInputs, AnyImageInputs)


class Model(ABC, Generic[InputsT]):
    """An artifact that is ready to run. Thread-safe."""

    def __init__(self, directory: Path, manifest: Manifest, graph: Graph) -> None:
        self.name = directory.parent.name
        self.version = directory.name
        self.manifest = manifest
        self.execution_provider = graph.provider
        self.computed_in = graph.computed_in(manifest.precision)
        self.is_faster_alone = graph.is_faster_alone
        self._graph = graph

    @property
    def reference(self) -> str:
        """What names this version and no other: `name@version`."""
        return f"{self.name}@{self.version}"

    def prepare(self, inputs: InputsT) -> list[PreparedItem]:
        """Preprocesses inputs, in order.

        Raises:
            InvalidItemsError: names every input that can't be embedded, and why.
        """
        (result,) = self.prepare_all([inputs])
        if isinstance(result, InvalidItemsError):
            raise result
        return result

    @abstractmethod
    def prepare_all(self, calls: Sequence[InputsT]) -> list[Prepared]:
        """Preprocesses the inputs of several calls in one go; what is wrong with one's is no matter to the others."""

    @abstractmethod
    def collate(self, payloads: Sequence[NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Prepared payloads as the graph's inputs, each `(batch, ...)`."""

    @abstractmethod
    def sample(self, size: int) -> PreparedItem:
        """A made-up item of about `size` units, for warming up and measuring."""

    def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        """Runs one batch, in parts where the provider takes fewer items at once.

        Args:
            payloads: What was prepared.
            alone: Whether nothing else wants the cores, so that the batch may have them all.

        Returns:
            `(batch, dimensionality)` float32, not normalized.

        Raises:
            ArtifactError: the graph computed another shape.
        """
        most = self._graph.most_items or len(payloads)
        parts = [self._run_part(payloads[start : start + most], alone=alone) for start in range(0, len(payloads), most)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def terminate(self, thread: int) -> None:
        """Has the run that a thread is at fail, as soon as it can."""
        self._graph.terminate(thread)

    def _run_part(self, payloads: Sequence[NDArray[Any]], *, alone: bool) -> NDArray[np.float32]:
        vectors = self._graph.run(self.manifest.output, self.collate(payloads), alone=alone)
        expected = len(payloads), self.manifest.dimensionality
        if vectors.shape != expected:
            raise ArtifactError(f"model {self.name}: its graph computed {vectors.shape} where {expected} was due")
        return vectors


class TextModel(Model[AnyTextInputs]):
    """A model of texts; sizes are tokens."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        spec: TextInput,
        graph: Graph,
        limits: InputLimits,
    ) -> None:
        super().__init__(directory, manifest, graph)
        self.spec = spec
        self._preprocessor = TextPreprocessor(directory / TOKENIZER_FILE, spec, limits)

    def prepare_all(self, calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        texts = iter(self._preprocessor.prepare_all([inputs for inputs in calls if isinstance(inputs, TextInputs)]))
        return [next(texts) if isinstance(inputs, TextInputs) else self._prepare_tokens(inputs) for inputs in calls]

    def _prepare_tokens(self, inputs: TokenInputs) -> Prepared:
        try:
            return prepare_tokens(inputs, self.spec.max_token_count, self._preprocessor.vocabulary_size)
        except InvalidItemsError as error:
            return error

    def collate(self, payloads: Sequence[NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return pad(payloads, self.spec.pad_token_id)

    def sample(self, size: int) -> PreparedItem:
        size = min(size, self.spec.max_token_count)
        return PreparedItem(np.full(size, self.spec.pad_token_id, dtype=np.int64), size=size, token_count=size)

    def estimate(self, inputs: AnyTextInputs) -> int:
        """About how many tokens the texts have, without tokenizing them."""
        if isinstance(inputs, TokenInputs):
            return max(len(inputs), int(np.count_nonzero(inputs.mask)))
        limit, prompt = self.spec.max_token_count, self._prompt_bytes(inputs)
        tokens = 0
        for text in inputs.texts:
            tokens += min(limit, 2 + (prompt + len(text.encode())) // _BYTES_PER_TOKEN)
        return tokens

    def tokens_to_find(self, inputs: AnyTextInputs) -> int:
        """About how many tokens the texts have, those included that the model will not read."""
        if isinstance(inputs, TokenInputs):
            return self.estimate(inputs)
        prompt, tokens = self._prompt_bytes(inputs), 0
        for text in inputs.texts:
            tokens += 2 + (prompt + len(text.encode())) // _BYTES_PER_TOKEN
        return tokens

    def _prompt_bytes(self, inputs: TextInputs) -> int:
        return len(self.spec.prompts[inputs.prompt].encode()) if inputs.prompt else 0


class ImageModel(Model[AnyImageInputs]):
    """A model of images; sizes are images."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        spec: ImageInput,
        graph: Graph,
        limits: InputLimits,
    ) -> None:
        super().__init__(directory, manifest, graph)
        self.spec = spec
        self._preprocessor = ImagePreprocessor(spec, limits)

    def prepare_all(self, calls: Sequence[AnyImageInputs]) -> list[Prepared]:
        return [self._prepare_images(inputs) for inputs in calls]

    def _prepare_images(self, inputs: AnyImageInputs) -> Prepared:
        try:
            if isinstance(inputs, PixelInputs):
                return prepare_pixels(inputs, self.spec)
            return self._preprocessor.prepare(inputs)
        except InvalidItemsError as error:
            return error

    def collate(self, payloads: Sequence[NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return {"pixels": np.stack(payloads)}

    def sample(self, size: int) -> PreparedItem:  # noqa: ARG002 (every image has the same size)
        edge = self.spec.crop_size
        return PreparedItem(np.zeros((edge, edge, 3), dtype=np.uint8), size=1)


AnyModel = TextModel | ImageModel


def open_artifact(directory: Path, options: SessionOptions, limits: InputLimits) -> AnyModel:
    """Loads `<name>/<version>/` after checking its files against its manifest.

    Raises:
        ArtifactError: the manifest or a file beside it is missing, malformed or altered.
        ProviderError: the execution provider did not load.
    """
    manifest = Manifest.read(directory)
    manifest.check_files(directory)
    graph = _load_graph(directory / GRAPH_FILE, options.fitted(manifest))
    check_graph(directory / GRAPH_FILE, graph, manifest)
    match manifest.input:
        case TextInput() as spec:
            return TextModel(directory, manifest, spec, graph, limits)
        case ImageInput() as spec:
            return ImageModel(directory, manifest, spec, graph, limits)


def _load_graph(file: Path, options: SessionOptions) -> Graph:
    try:
        return Graph(file, options)
    except ProviderError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise ArtifactError(f"{file}: ONNX Runtime can't load it: {error}") from error
