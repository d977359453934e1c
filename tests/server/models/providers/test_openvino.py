import json
from pathlib import Path
from typing import Any

import pytest

from vecserve_server.models.providers.openvino import OpenVino
from vecserve_server.models.providers.processor import cpu_flags
from vecserve_server.models.providers.provider import ProviderError

BF16 = frozenset({"avx512f", "avx512_bf16"})
NO_BF16 = frozenset({"avx512f"})


def config(provider: OpenVino) -> dict[str, dict[str, Any]]:
    return json.loads(provider.options()["load_config"])


def test_batches_at_once_have_streams_of_their_own_and_their_threads() -> None:
    told = config(OpenVino(streams=3, threads=2, flags=NO_BF16))["CPU"]

    assert (told["NUM_STREAMS"], told["INFERENCE_NUM_THREADS"]) == ("3", "6")


@pytest.mark.parametrize(
    ("precision", "flags", "hint", "computed_in"),
    [
        ("auto", BF16, "bf16", "bf16"),
        ("auto", frozenset({"amx_bf16"}), "bf16", "bf16"),
        ("auto", NO_BF16, "f32", "fp32"),
        ("bf16", BF16, "bf16", "bf16"),
        ("f32", BF16, "f32", "fp32"),
    ],
)
def test_bf16_is_for_cpus_that_have_it(precision: str, flags: frozenset[str], hint: str, computed_in: str) -> None:
    provider = OpenVino(precision=precision, flags=flags)

    assert config(provider)["CPU"]["INFERENCE_PRECISION_HINT"] == hint
    assert provider.computed_in("fp32") == computed_in
    assert provider.computed_in("int8") == "int8"


def test_bf16_on_a_cpu_without_it_is_refused_with_what_it_needs() -> None:
    with pytest.raises(ProviderError) as refusal:
        OpenVino(precision="bf16", flags=NO_BF16).options()

    assert str(refusal.value) == (
        "openvino_precision is bf16, for which a CPU needs avx512_bf16 or amx_bf16, and this CPU has neither: "
        "set auto or f32"
    )


def test_bf16_on_another_device_is_refused_by_its_name() -> None:
    with pytest.raises(ProviderError, match="and openvino_device is 'GPU': set auto or f32"):
        OpenVino(device="GPU", precision="bf16", flags=BF16).options()


def test_other_devices_choose_threads_and_precision_themselves() -> None:
    provider = OpenVino(device="GPU.1", flags=BF16)

    assert provider.options() == {"device_type": "GPU.1", "load_config": '{"GPU": {}}'}
    assert provider.computed_in("fp32") == "auto"


@pytest.mark.parametrize(("device", "key"), [("GPU.1", "GPU"), ("AUTO:GPU,CPU", "AUTO"), ("NPU", "NPU")])
def test_other_devices_are_told_a_precision_that_was_set(device: str, key: str) -> None:
    assert config(OpenVino(device=device, precision="f32")) == {key: {"INFERENCE_PRECISION_HINT": "f32"}}


def test_raw_properties_are_added_to_those_that_settings_make() -> None:
    added = {"CPU": {"ENABLE_CPU_PINNING": "NO", "NUM_STREAMS": "5"}, "GPU": {"CACHE_DIR": "blobs"}}

    told = config(OpenVino(raw_options={"load_config": json.dumps(added)}, flags=NO_BF16))

    assert told["CPU"] == {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": "5",
        "INFERENCE_NUM_THREADS": "1",
        "ENABLE_CPU_PINNING": "NO",
    }
    assert told["GPU"] == {"CACHE_DIR": "blobs"}


def test_other_raw_options_are_handed_on() -> None:
    assert OpenVino(raw_options={"disable_dynamic_shapes": "true"}).options()["disable_dynamic_shapes"] == "true"


@pytest.mark.parametrize("given", ["{", "[]", "3", '{"CPU": 3}', '"CPU"'])
def test_raw_properties_of_another_form_are_refused_with_an_example(given: str) -> None:
    with pytest.raises(ProviderError, match=r"provider_options\.load_config must be JSON such as") as refusal:
        OpenVino(raw_options={"load_config": given}).options()

    assert str(refusal.value).endswith(f"and is {given}")


@pytest.mark.parametrize(("device", "library"), [("GPU", "libOpenCL.so.1"), ("AUTO:NPU,CPU", "libze_loader.so.1")])
def test_a_device_that_is_not_there_is_named_with_its_drivers_library_or_alone(device: str, library: str) -> None:
    (sentence,) = OpenVino(device=device).missing()

    assert sentence.startswith(f"{library} is missing") or sentence == f"OpenVINO finds no device '{device}' here"


def test_nothing_is_said_to_be_missing_for_the_cpu() -> None:
    assert OpenVino().missing() == []


def test_flags_are_those_of_the_first_cpu(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n")

    assert cpu_flags(file) == {"fpu", "avx512_bf16", "amx_bf16"}


def test_flags_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "nothing") == frozenset()
