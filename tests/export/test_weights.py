import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import resnet50

from vecserve_export.errors import SourceError
from vecserve_export.weights import load_backbone
from vecserve_server.models.manifest import file_digest

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(5)
    return resnet50(weights=None, num_classes=7).state_dict()


@pytest.fixture
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends every download to a port where nothing listens, and starts with an empty cache."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_random_weights_are_torchvisions_for_the_seed() -> None:
    torch.manual_seed(3)
    expected = resnet50(weights=None).state_dict()
    backbone = load_backbone("random:3", None, "logits")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in backbone.network.state_dict().items())
    assert (backbone.source.uri, backbone.source.digest, backbone.source.random) == ("random:3", None, True)


def test_random_weights_are_announced(capsys: pytest.CaptureFixture[str]) -> None:
    load_backbone("random", None, "pool")
    assert "Random weights (seed 0): the vectors will have the right shape and mean nothing." in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_state_dict_is_read_from_both_formats(tmp_path: Path, state: State, suffix: str) -> None:
    file = tmp_path / f"mine{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    backbone = load_backbone(str(file), None, "logits")
    assert torch.equal(backbone.network.fc.weight, state["fc.weight"])
    assert backbone.preprocessing().resize_size == [232]
    assert (backbone.source.uri, backbone.source.digest) == (file.name, file_digest(file))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_checkpoints_of_training_scripts_are_unwrapped(tmp_path: Path, state: State, wrapper: str) -> None:
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, wrapper: parallel}, tmp_path / "checkpoint.pth")
    backbone = load_backbone(str(tmp_path / "checkpoint.pth"), None, "pool")
    assert torch.equal(backbone.network.conv1.weight, state["conv1.weight"])


def test_pooled_features_need_no_classifier(tmp_path: Path, state: State) -> None:
    torch.save({name: tensor for name, tensor in state.items() if "fc" not in name}, tmp_path / "headless.pt")
    network = load_backbone(str(tmp_path / "headless.pt"), None, "pool").network.eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2048)
    with pytest.raises(
        SourceError, match=r"with logits features: missing are fc\.weight, fc\.bias; not expected are none"
    ):
        load_backbone(str(tmp_path / "headless.pt"), None, "logits")


def test_weights_of_another_network_are_refused_with_their_keys(tmp_path: Path, state: State) -> None:
    torch.save({name.replace("layer4", "stage4"): tensor for name, tensor in state.items()}, tmp_path / "other.pt")
    with pytest.raises(SourceError, match=r"missing are layer4\.0\..* more; not expected are stage4\.0\."):
        load_backbone(str(tmp_path / "other.pt"), None, "pool")


def test_weights_of_other_shapes_are_refused_with_both(tmp_path: Path, state: State) -> None:
    torch.save({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.pt")
    with pytest.raises(SourceError, match=r"size mismatch for conv1\.weight: .*\[64, 1, 7, 7\].*\[64, 3, 7, 7\]"):
        load_backbone(str(tmp_path / "grey.pt"), None, "pool")


class Poison:
    """Unpickled, it makes a directory."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_code_in_a_file_of_weights_does_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Poison(tmp_path / "run")}, tmp_path / "poisoned.pt")
    with pytest.raises(SourceError, match="holds more than tensors, and loading it could run code from it"):
        load_backbone(str(tmp_path / "poisoned.pt"), None, "pool")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["broken.pt", "broken.safetensors"])
def test_a_broken_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0" * 100)
    with pytest.raises(SourceError, match=name):
        load_backbone(str(tmp_path / name), None, "pool")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(SourceError, match="holds no tensors by name"):
        load_backbone(str(tmp_path / "empty.pt"), None, "pool")


def test_what_is_no_weights_at_all_is_answered_with_what_is_allowed() -> None:
    allowed = r"neither a file, nor random\[:SEED\], nor one of .*IMAGENET1K_V1"
    with pytest.raises(SourceError, match=allowed):
        load_backbone("IMAGENET1K_V9", None, "pool")


def test_named_weights_bring_their_own_preprocessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    cached.parent.mkdir(parents=True)
    torch.save(resnet50(weights=None).state_dict(), cached)
    backbone = load_backbone("IMAGENET1K_V1", None, "pool")
    assert backbone.preprocessing().resize_size == [256]
    assert backbone.source.uri == "torchvision/resnet50:IMAGENET1K_V1"
    assert backbone.source.digest == file_digest(cached)


@pytest.mark.usefixtures("unreachable")
def test_without_network_the_error_says_what_was_tried_and_what_works() -> None:
    expected = r"IMAGENET1K_V2 could not be fetched from https://download\.pytorch\.org/.*--weights FILE.*random:0"
    with pytest.raises(SourceError, match=expected):
        load_backbone("DEFAULT", None, "pool")


@pytest.mark.usefixtures("unreachable")
def test_the_fallback_replaces_weights_that_cannot_be_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert load_backbone("DEFAULT", "random:4", "pool").source.uri == "random:4"
    said = capsys.readouterr().err
    assert "could not be fetched" in said
    assert "Random weights (seed 4)" in said


def test_the_fallback_does_not_replace_a_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="neither a file"):
        load_backbone(str(tmp_path / "mistyped.pt"), "random:4", "pool")
