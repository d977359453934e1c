from collections.abc import Callable
from pathlib import Path

import pytest

from vecserve_server.models.manifest import ImageInput, Manifest, TextInput
from vecserve_server.models.providers.cuda import Cuda
from vecserve_server.models.providers.provider import ProviderError
from vecserve_server.models.providers.tensorrt import Profile, TensorRt

DIGEST = "5" * 64


@pytest.fixture
def text_manifest(manifest_of: Callable[..., Manifest]) -> Manifest:
    spec = TextInput(max_token_count=512, pad_token_id=0, tokenizer_digest=f"sha256:{DIGEST}")
    return manifest_of(input=spec, graph_digest=f"sha256:{DIGEST}")


@pytest.fixture
def image_manifest(manifest_of: Callable[..., Manifest]) -> Manifest:
    spec = ImageInput(resize_size=256, crop_size=224, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
    return manifest_of(input=spec)


def test_what_engines_cannot_hold_is_left_to_cuda_on_the_same_gpu() -> None:
    chain = TensorRt(cuda=Cuda(device_id=1), batch_images=32).chain()

    assert [name for name, _ in chain] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert [options["device_id"] for _, options in chain] == ["1", "1"]


def test_nothing_is_altered_or_kept_unless_it_is_asked_for() -> None:
    assert TensorRt(batch_images=32).options() == {"device_id": "0", "trt_fp16_enable": "False"}


def test_raw_options_are_for_tensorrt_alone() -> None:
    (_, ours), (_, cudas) = TensorRt(raw_options={"trt_builder_optimization_level": "5"}, batch_images=32).chain()

    assert ours["trt_builder_optimization_level"] == "5"
    assert "trt_builder_optimization_level" not in cudas


def test_an_engine_for_texts_takes_from_one_token_to_the_longest(text_manifest: Manifest) -> None:
    options = TensorRt(batch_images=32).fitted(text_manifest).options()

    assert options["trt_profile_min_shapes"] == "input_ids:1x1,attention_mask:1x1"
    assert options["trt_profile_opt_shapes"] == "input_ids:128x32,attention_mask:128x32"
    assert options["trt_profile_max_shapes"] == "input_ids:128x512,attention_mask:128x512"


def test_an_engine_for_images_takes_from_one_to_a_full_batch(image_manifest: Manifest) -> None:
    options = TensorRt(batch_images=32).fitted(image_manifest).options()

    assert options["trt_profile_min_shapes"] == "pixels:1x224x224x3"
    assert options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"] == "pixels:32x224x224x3"


def test_the_usual_length_is_within_what_a_model_reads(manifest_of: Callable[..., Manifest]) -> None:
    spec = TextInput(max_token_count=16, pad_token_id=0, tokenizer_digest=f"sha256:{DIGEST}")

    assert Profile.of(manifest_of(input=spec), 32).usual["input_ids"] == (128, 16)


def test_a_run_has_at_most_the_items_of_its_profile(text_manifest: Manifest, image_manifest: Manifest) -> None:
    provider = TensorRt(batch_images=32)

    assert provider.most_items is None
    assert provider.fitted(text_manifest).most_items == 128
    assert provider.fitted(image_manifest).most_items == 32


def test_engines_are_kept_apart_by_their_graphs_digest(text_manifest: Manifest, tmp_path: Path) -> None:
    options = TensorRt(batch_images=32, cache=tmp_path).fitted(text_manifest).options()

    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "True"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(tmp_path / DIGEST)


def test_a_cache_that_cannot_be_made_is_refused_by_name(text_manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    provider = TensorRt(batch_images=32, cache=tmp_path / "file").fitted(text_manifest)

    with pytest.raises(ProviderError, match=rf"tensorrt_cache: '{tmp_path}/file/{DIGEST}' can't be made"):
        provider.prepare()


@pytest.mark.parametrize(
    ("fp16", "precision", "computed_in"),
    [(False, "fp32", "tf32"), (True, "fp32", "fp16"), (True, "int8", "int8"), (False, "fp16", "fp16")],
)
def test_fp32_may_be_computed_in_less(fp16: bool, precision: str, computed_in: str) -> None:
    assert TensorRt(fp16=fp16, batch_images=32).computed_in(precision) == computed_in
