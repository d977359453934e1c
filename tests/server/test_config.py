from pathlib import Path

import pytest
from pydantic import ValidationError

from vecserve_server.cli import main
from vecserve_server.config import ServerConfig
from vecserve_server.models.inputs import InputLimits
from vecserve_server.models.providers.cuda import Cuda
from vecserve_server.models.providers.openvino import OpenVino
from vecserve_server.models.providers.provider import Cpu, Provider
from vecserve_server.models.providers.tensorrt import TensorRt
from vecserve_server.models.session import SessionOptions
from vecserve_server.validation import describe


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No VECSERVE_* variable is set, whoever runs the tests."""
    for field in ServerConfig.model_fields:
        monkeypatch.delenv(f"VECSERVE_{field.upper()}", raising=False)


def config(*flags: str) -> ServerConfig:
    return ServerConfig.from_command_line(flags)


def refusal(*flags: str) -> str:
    with pytest.raises(ValidationError) as refused:
        config(*flags)
    return describe(refused.value)


def test_the_defaults_serve_this_machine_alone() -> None:
    defaults = config()

    assert (defaults.models, defaults.address, defaults.provider) == (Path("models"), "127.0.0.1:50051", "cpu")
    assert defaults.session_options(cores=8) == SessionOptions(Cpu(), intra_op_threads=1, alone_threads=8)
    assert defaults.input_limits == InputLimits()


def test_every_setting_is_a_flag_and_a_variable_and_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        config("--help")

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for name, field in ServerConfig.model_fields.items():
        assert f"--{name.replace('_', '-')} " in shown
        assert field.description


@pytest.mark.parametrize("flags", [["--max-batch-items", "7"], ["--max-batch-items=7"]])
def test_flags_fill_settings(flags: list[str]) -> None:
    assert config(*flags).max_batch_items == 7


def test_variables_fill_settings_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSERVE_MAX_BATCH_ITEMS", "5")
    monkeypatch.setenv("VECSERVE_MODELS", "/srv/models")

    assert (config().max_batch_items, config().models) == (5, Path("/srv/models"))
    assert (config("--max-batch-items", "7").max_batch_items, config("--models", "here").models) == (7, Path("here"))


def test_variables_of_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSERVE_HYPOTHESIS_EXAMPLES", "5")

    config()


def test_a_setting_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().max_batch_items = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_an_unknown_flag_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        config("--port", "1")

    assert ended.value.code == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "0.0.0.0:50051", "[::]:50051", "[::1]:65535", "localhost:1", "embed.internal:50051"]
)
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    assert config("--address", address).address == address


@pytest.mark.parametrize(
    "address", ["", "50051", ":50051", "localhost", "localhost:", "localhost:http", "localhost:65536", "localhost:-1"]
)
def test_any_other_address_is_refused_with_an_example(address: str) -> None:
    message = refusal("--address", address)

    assert message.startswith("address: ")
    assert "must be HOST:PORT with a port from 0 to 65535, e.g. 0.0.0.0:50051 or [::]:50051" in message
    assert f"(given: {address!r})" in message


@pytest.mark.parametrize("address", ["unix:/run/vecserve.sock", "unix:///run/vecserve.sock"])
def test_an_address_may_be_a_unix_socket(address: str) -> None:
    assert config("--address", address).address == "unix:/run/vecserve.sock"


@pytest.mark.parametrize("address", ["unix:", "unix://", f"unix:/{'a' * 103}"])
def test_a_path_that_no_socket_can_have_is_refused(address: str) -> None:
    assert "must be unix:PATH with a path of at most 103 bytes" in refusal("--address", address)


def test_several_workers_are_refused_at_a_unix_socket() -> None:
    message = refusal("--address", "unix:/run/vecserve.sock", "--workers", "2")

    assert message.startswith("workers: must be 1 with a Unix socket")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tls-cert", "a.pem"], "--tls-cert and --tls-key go together"),
        (["--tls-key", "a.key"], "--tls-cert and --tls-key go together"),
        (["--tls-client-ca", "a.pem"], "--tls-client-ca needs --tls-cert and --tls-key"),
    ],
)
def test_settings_of_tls_that_lack_others_are_refused(flags: list[str], message: str) -> None:
    assert refusal(*flags).startswith(message)


@pytest.mark.parametrize(
    ("flags", "exempt"),
    [
        ([], ["health"]),
        (["--tokens-exempt", "health,reflection"], ["health", "reflection"]),
        (["--tokens-exempt", "[]"], []),
    ],
)
def test_what_needs_no_token_is_a_list(flags: list[str], exempt: list[str]) -> None:
    assert config(*flags).tokens_exempt == exempt


def test_metrics_have_an_address_only_if_it_is_set() -> None:
    assert config().metrics_address is None
    assert config("--metrics-address", "127.0.0.1:9090").metrics_address == "127.0.0.1:9090"


def test_an_address_of_metrics_is_checked_as_the_servers() -> None:
    message = refusal("--metrics-address", "9090")

    assert message.startswith("metrics_address: ")
    assert "must be HOST:PORT" in message


@pytest.mark.parametrize(
    "flags", [["--model-weights", "small=0.5", "--model-weights", "large=3"], ["--model-weights", "small=0.5,large=3"]]
)
def test_models_have_weights_by_name(flags: list[str]) -> None:
    assert config(*flags).engine_settings(1).weights == {"small": 0.5, "large": 3.0}


def test_models_weigh_the_same_unless_it_is_said() -> None:
    assert config().engine_settings(1).weights == {}


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--instances", "0", "instances: Input should be greater than 0 (given: '0')"),
        ("--intra-op-threads", "-1", "intra_op_threads: Input should be greater than 0 (given: '-1')"),
        ("--device-id", "-1", "device_id: Input should be greater than or equal to 0 (given: '-1')"),
        ("--batch-tokens", "many", "batch_tokens: Input should be a valid integer"),
        ("--max-queue-seconds", "nan", "max_queue_seconds: Input should be a finite number (given: 'nan')"),
        ("--max-queue-seconds", "inf", "max_queue_seconds: Input should be a finite number (given: 'inf')"),
        ("--grace-seconds", "0", "grace_seconds: Input should be greater than 0 (given: '0')"),
        ("--max-message-bytes", "2147483648", "max_message_bytes: Input should be less than or equal to 2147483647"),
        (
            "--max-connection-age-seconds",
            "-1",
            "max_connection_age_seconds: Input should be greater than or equal to 0",
        ),
        ("--keepalive-seconds", "0", "keepalive_seconds: Input should be greater than 0 (given: '0')"),
        ("--socket-mode", "0o660", "socket_mode: must be three octal digits, e.g. 660 for the owner and the group"),
        ("--tokens-exempt", "all", "tokens_exempt.0: Input should be 'health' or 'reflection' (given: 'all')"),
        ("--model-weights", "bert=0", "model_weights.bert: Input should be greater than 0 (given: '0')"),
        ("--model-weights", "bert=inf", "model_weights.bert: Input should be a finite number (given: 'inf')"),
        ("--provider", "tpu", "provider: must be one of cpu, cuda, tensorrt, openvino, or another's full name, e.g. "),
        ("--log-level", "loud", "log_level: Input should be 'debug', 'info', 'warning' or 'error' (given: 'loud')"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(flag: str, value: str, message: str) -> None:
    assert message in refusal(flag, value)


def test_every_bad_value_is_named_at_once_wherever_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSERVE_GRACE_SECONDS", "soon")

    message = refusal("--address", "nowhere", "--instances", "0")

    assert all(f"{name}: " in message for name in ("address", "instances", "grace_seconds"))


@pytest.mark.parametrize(
    ("flags", "cores", "instances", "batch_tokens", "batch_images"),
    [
        ([], 8, 8, 1024, 4),
        (["--intra-op-threads", "4"], 8, 2, 1024, 4),
        (["--intra-op-threads", "16"], 8, 1, 1024, 4),
        (["--instances", "3"], 8, 3, 1024, 4),
        (["--provider", "cuda"], 8, 2, 16384, 32),
        (["--provider", "cuda", "--instances", "1", "--batch-tokens", "9", "--batch-images", "5"], 8, 1, 9, 5),
        (["--provider", "openvino"], 8, 8, 1024, 4),
        (["--provider", "openvino", "--openvino-device", "GPU"], 8, 2, 16384, 32),
        (["--provider", "ROCMExecutionProvider"], 8, 2, 16384, 32),
    ],
)
def test_what_was_not_set_suits_the_provider_and_the_cores(
    flags: list[str], cores: int, instances: int, batch_tokens: int, batch_images: int
) -> None:
    settings = config(*flags).engine_settings(cores)

    assert settings.preprocessing_threads == cores
    assert (settings.instances, settings.batch_tokens, settings.batch_images) == (
        instances,
        batch_tokens,
        batch_images,
    )


@pytest.mark.parametrize(
    ("flags", "cores", "alone"),
    [
        (["--intra-op-threads", "3"], 8, 6),
        (["--instances", "3"], 8, 3),
        (["--instances", "16"], 8, 8),
        (["--workers", "2"], 8, 4),
        (["--cpu-alone-threads", "5"], 8, 5),
        (["--provider", "cuda"], 8, 1),
        (["--provider", "openvino"], 8, 1),
    ],
)
def test_a_batch_alone_has_the_threads_of_all_instances_on_a_cpu(flags: list[str], cores: int, alone: int) -> None:
    assert config(*flags).session_options(cores).alone_threads == alone


def test_settings_reach_sessions_and_limits() -> None:
    filled = config(
        *("--intra-op-threads", "3"),
        *("--max-text-characters", "4", "--max-image-bytes", "5", "--max-image-pixels", "6"),
        *("--max-known-words", "0"),
    )

    assert filled.session_options(cores=8).intra_op_threads == 3
    assert filled.input_limits == InputLimits(4, 5, 6, 0)


CUDA_FLAGS = (
    *("--device-id", "1", "--cuda-memory-bytes", "1000"),
    *("--cuda-conv-search", "default", "--cuda-tf32"),
)
CUDA = Cuda(device_id=1, memory_bytes=1000, conv_search="default", tf32=True)


@pytest.mark.parametrize(
    ("flags", "provider"),
    [
        (["--provider", "cpu"], Cpu()),
        (["--provider", "cuda"], Cuda()),
        (["--provider", "CUDAExecutionProvider"], Cuda()),
        (["--provider", "cuda", *CUDA_FLAGS], CUDA),
        (["--provider", "tensorrt"], TensorRt(batch_images=32)),
        (
            ["--provider", "tensorrt", "--tensorrt-fp16", "--tensorrt-cache", "engines", *CUDA_FLAGS],
            TensorRt(cuda=CUDA, fp16=True, cache=Path("engines"), batch_images=32),
        ),
        (["--provider", "openvino"], OpenVino(streams=8)),
        (
            ["--provider", "openvino", "--openvino-precision", "f32", "--intra-op-threads", "4"],
            OpenVino(precision="f32", streams=2, threads=4),
        ),
        (["--provider", "openvino", "--openvino-device", "GPU.1"], OpenVino(device="GPU.1", streams=2)),
        (["--provider", "ROCMExecutionProvider"], Provider(name="ROCMExecutionProvider")),
    ],
)
def test_settings_reach_the_provider(flags: list[str], provider: Provider) -> None:
    assert config(*flags).session_options(cores=8).provider == provider


@pytest.mark.parametrize("name", ["cpu", "cuda", "tensorrt", "openvino", "ROCMExecutionProvider"])
@pytest.mark.parametrize(
    "flags",
    [
        ["--provider-options", "one=1", "--provider-options", "load_config={}"],
        ["--provider-options", '{"one": "1", "load_config": "{}"}'],
    ],
)
def test_every_provider_has_raw_options(name: str, flags: list[str]) -> None:
    provider = config("--provider", name, *flags).session_options(cores=8).provider

    assert provider.raw_options == {"one": "1", "load_config": "{}"}


def test_raw_options_with_commas_and_quotes_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    given = '{"load_config": "{\\"CPU\\": {\\"A\\": \\"1\\", \\"B\\": \\"2\\"}}"}'
    options = {"load_config": '{"CPU": {"A": "1", "B": "2"}}'}

    assert config("--provider-options", given).provider_options == options
    monkeypatch.setenv("VECSERVE_PROVIDER_OPTIONS", given)
    assert config().provider_options == options


@pytest.mark.parametrize(
    ("flags", "owners"),
    [
        (["--device-id", "0"], "cuda or tensorrt"),
        (["--cuda-memory-bytes", "1000"], "cuda or tensorrt"),
        (["--cuda-conv-search", "default"], "cuda or tensorrt"),
        (["--cuda-tf32"], "cuda or tensorrt"),
        (["--tensorrt-cache", "engines"], "tensorrt"),
        (["--tensorrt-fp16"], "tensorrt"),
        (["--openvino-device", "CPU"], "openvino"),
        (["--openvino-precision", "f32"], "openvino"),
    ],
)
def test_a_setting_of_another_provider_is_refused_with_both_names(flags: list[str], owners: str) -> None:
    field = flags[0].removeprefix("--").replace("-", "_")

    assert refusal(*flags).startswith(f"{field}: is for provider {owners}, and provider is cpu (given: ")


def test_a_setting_that_is_off_may_stand_beside_any_provider() -> None:
    assert config("--no-cuda-tf32", "--no-tensorrt-fp16").session_options(cores=8).provider == Cpu()


@pytest.mark.parametrize("device", ["CPU", "GPU", "GPU.0", "NPU", "AUTO", "AUTO:GPU.1,CPU", "HETERO:NPU,GPU,CPU"])
def test_devices_of_openvino_have_its_names(device: str) -> None:
    assert config("--provider", "openvino", "--openvino-device", device).openvino_device == device


@pytest.mark.parametrize("device", ["", "cpu", "XPU", "GPU.", "CPU.1", "AUTO:", "SOME:CPU", "GPU,CPU", "AUTO:GPU,"])
def test_another_device_of_openvino_is_refused_with_examples(device: str) -> None:
    message = refusal("--provider", "openvino", "--openvino-device", device)

    assert "openvino_device: must be CPU, GPU or NPU, with a number as in GPU.1, or several as in AUTO:GPU" in message


@pytest.mark.parametrize("flags", [["--model-weights", "bert"], ["--model-weights", "bert=high"]])
def test_weights_that_cannot_be_read_are_refused_by_name(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2

    assert "model_weights" in (error := capsys.readouterr().err) or "--model-weights" in error


def test_raw_options_that_cannot_be_read_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--provider-options", "fast"]) == 2

    assert "provider_options: not enough values to unpack (expected 2, got 1). The flag takes NAME=VALUE or JSON" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("endpoint", ["http://localhost:4317", "https://collector.example:4317/"])
def test_an_endpoint_of_traces_is_a_url(endpoint: str) -> None:
    assert config("--otlp-endpoint", endpoint).otlp_endpoint == endpoint


def test_an_endpoint_of_traces_without_a_scheme_is_refused() -> None:
    message = refusal("--otlp-endpoint", "localhost:4317")

    assert message.startswith("otlp_endpoint: must be http://HOST:PORT, or https://HOST:PORT for TLS")


def test_inputs_are_logged_only_at_debug() -> None:
    assert config("--log-level", "debug", "--log-inputs").log_inputs
    assert "log_inputs: is for log_level debug, and log_level is info" in refusal("--log-inputs")


def test_admin_is_for_one_worker() -> None:
    with pytest.raises(ValidationError, match="admin needs workers to be 1, and they are 2"):
        ServerConfig.from_command_line(["--admin", "--workers", "2"])
    assert ServerConfig.from_command_line(["--admin"]).admin
    assert ServerConfig.from_command_line(["--poll-models-seconds", "5", "--workers", "2"]).poll_models_seconds == 5


def test_pins_are_versions_by_name() -> None:
    assert ServerConfig.from_command_line(["--pin", "bert=3", "--pin", "minilm=1"]).pin == {"bert": 3, "minilm": 1}
    with pytest.raises(ValidationError):
        ServerConfig.from_command_line(["--pin", "bert=latest"])
