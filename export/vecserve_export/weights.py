"""ResNet-50's weights: torchvision's by name, a state dict in a file, or random ones."""

import pickle
import re
import socket
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlparse

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet50_Weights, resnet50

from vecserve_export.errors import SourceError, UnreachableSourceError, listed
from vecserve_export.progress import notice, step
from vecserve_server.models.manifest import Source, file_digest

Features = Literal["pool", "logits"]

_RANDOM = re.compile(r"random(?::(\d{1,18}))?")
_CONNECT_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Backbone:
    """A ResNet-50 that puts out the features asked for, and what its weights expect of pixels."""

    network: ResNet
    preprocessing: partial[Any]
    """Makes torchvision's transforms."""
    source: Source


def load_backbone(weights: str, fallback: str | None, features: Features) -> Backbone:
    """Loads what `--weights` names; `fallback` replaces torchvision's weights where they can't be fetched.

    Raises:
        SourceError: the weights can't be had, or are not a ResNet-50's.
    """
    if match := _RANDOM.fullmatch(weights):
        return _random(int(match[1] or 0), features)
    if weights not in ResNet50_Weights.__members__:
        return _from_file(Path(weights).expanduser(), features)
    try:
        return _by_name(ResNet50_Weights[weights], features)
    except UnreachableSourceError as error:
        if fallback is None:
            raise
        notice(str(error))
        return load_backbone(fallback, None, features)


def _random(seed: int, features: Features) -> Backbone:
    notice(f"Random weights (seed {seed}): the vectors will have the right shape and mean nothing.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = resnet50(weights=None)
    if features == "pool":
        _remove_classifier(network)
    return Backbone(
        network, _preprocessing(ResNet50_Weights.DEFAULT), Source(uri=f"random:{seed}", digest=None, random=True)
    )


def _by_name(weights: ResNet50_Weights, features: Features) -> Backbone:
    url = cast(str, weights.url)
    try:
        with (
            step(f"Fetching {weights.name} from {url}", shows_progress=True),
            redirect_stdout(sys.stderr),
            _socket_timeout(_CONNECT_TIMEOUT_S),
        ):
            state = cast("dict[str, Tensor]", weights.get_state_dict(progress=True, check_hash=True))
    except RuntimeError as error:  # torch.hub's word for a wrong digest
        raise SourceError(
            f"torchvision's ResNet-50 weights {weights.name} from {url} can't be trusted: {error}"
        ) from error
    except OSError as error:
        raise UnreachableSourceError(
            f"torchvision's ResNet-50 weights {weights.name} could not be fetched from {url}: {error}. Weights that "
            "need no network: --weights FILE (.safetensors, or a state dict saved by torch.save), or --weights random:0"
        ) from error
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    source = Source(uri=f"torchvision/resnet50:{weights.name}", digest=file_digest(file))
    return Backbone(_network(state, features, weights.name), _preprocessing(weights), source)


def _from_file(file: Path, features: Features) -> Backbone:
    state = _state_dict(_read(file))
    network = _network(state, features, str(file))
    return Backbone(network, _preprocessing(ResNet50_Weights.DEFAULT), Source(uri=file.name, digest=file_digest(file)))


def _read(file: Path) -> object:
    """What a file of weights holds, without running code from it."""
    if not file.is_file():
        names = ", ".join(ResNet50_Weights.__members__)
        raise SourceError(f"--weights {file} is neither a file, nor random[:SEED], nor one of {names}")
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{file} holds more than tensors, and loading it could run code from it. Save a plain state dict: "
            "torch.save(model.state_dict(), FILE), or a .safetensors file"
        ) from error
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise SourceError(f"{file} can't be read as weights: {error}") from error


def _state_dict(content: object) -> dict[str, Tensor]:
    """Tensors by name, out of the wrappers that training scripts save them in."""
    while isinstance(content, Mapping):
        entries = cast("Mapping[str, Any]", content)
        if tensors := {name.removeprefix("module."): t for name, t in entries.items() if isinstance(t, Tensor)}:
            return tensors
        content = entries.get("state_dict") or entries.get("model")
    raise SourceError(
        "the file holds no tensors by name: a state dict, alone or under 'state_dict' or 'model', is read"
    )


def _network(state: dict[str, Tensor], features: Features, origin: str) -> ResNet:
    classes = len(state["fc.weight"]) if "fc.weight" in state else 1000
    network = resnet50(weights=None, num_classes=classes)
    if features == "pool":
        _remove_classifier(network)
        state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    try:
        missing, unexpected = cast("tuple[list[str], list[str]]", network.load_state_dict(state, strict=False))
    except RuntimeError as error:
        raise SourceError(f"{origin} does not fit ResNet-50: {error}") from error
    if missing or unexpected:
        raise SourceError(
            f"{origin} does not fit ResNet-50 with {features} features: missing are {listed(missing)}; "
            f"not expected are {listed(unexpected)}"
        )
    return network


def _remove_classifier(network: ResNet) -> None:
    network.register_module("fc", nn.Identity())


def _preprocessing(weights: ResNet50_Weights) -> partial[Any]:
    return cast("partial[Any]", weights.transforms)


@contextmanager
def _socket_timeout(seconds: float) -> Generator[None]:
    """Limits how long a connection may be silent: torchvision sets no limit, and some firewalls drop packets."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
