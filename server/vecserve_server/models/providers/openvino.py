"""Intel's processors through OpenVINO."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from vecserve_server.models.providers.libraries import lacking, unloadable
from vecserve_server.models.providers.processor import cpu_flags
from vecserve_server.models.providers.provider import Provider, ProviderError

_BF16_FLAGS = ("avx512_bf16", "amx_bf16")

# What OpenVINO loads to reach a device, and what of.
_DRIVERS = {"GPU": ("libOpenCL.so.1", "Intel's GPU driver"), "NPU": ("libze_loader.so.1", "Intel's NPU driver")}


@dataclass(frozen=True, kw_only=True)
class OpenVino(Provider):
    """OpenVINO's kernels.

    Runs of a CPU are on OpenVINO's own threads, not on those that call it.
    """

    name: str = "OpenVINOExecutionProvider"
    device: str = "CPU"
    """CPU, GPU, GPU.1, NPU, or several after AUTO:, HETERO: or MULTI:."""
    precision: str = "auto"
    """bf16, f32, or auto: bf16 where the CPU computes in it."""
    streams: int = 1
    """Batches that run at once."""
    threads: int = 1
    """Of each of them, on a CPU."""
    flags: frozenset[str] = field(default_factory=cpu_flags)
    """Instruction sets of the CPU."""

    packages: ClassVar[str] = "'vecserve[server,openvino]' in place of 'vecserve[server,cpu]'"

    def options(self) -> dict[str, str]:
        raw = dict(self.raw_options)
        config = self._with(raw.pop("load_config", "{}"))
        return {"device_type": self.device, "load_config": json.dumps(config), **raw}

    def computed_in(self, precision: str) -> str:
        if precision != "fp32":
            return precision
        return {"bf16": "bf16", "f32": "fp32"}.get(self._hint() or "", "auto")

    def missing(self) -> list[str]:
        drivers = [_DRIVERS[kind] for kind in _DRIVERS if kind in self.device]
        absent = [f"{lacking([library])}: it comes with {owner}" for library, owner in drivers if unloadable([library])]
        return absent or ([] if self._on_cpu else [f"OpenVINO finds no device '{self.device}' here"])

    @property
    def _on_cpu(self) -> bool:
        return self.device == "CPU"

    def _hint(self) -> str | None:
        """What OpenVINO is told to compute in; None leaves it to the device."""
        has_bf16 = self._on_cpu and not self.flags.isdisjoint(_BF16_FLAGS)
        if self.precision == "auto":
            return ("bf16" if has_bf16 else "f32") if self._on_cpu else None
        if self.precision == "bf16" and not has_bf16:
            what = "this CPU has neither" if self._on_cpu else f"openvino_device is '{self.device}'"
            raise ProviderError(
                f"openvino_precision is bf16, for which a CPU needs {' or '.join(_BF16_FLAGS)}, and {what}: "
                "set auto or f32"
            )
        return self.precision

    def _with(self, added: str) -> dict[str, dict[str, Any]]:
        """What OpenVINO is told by device, and what was added to it."""
        hint = {"INFERENCE_PRECISION_HINT": self._hint()} if self._hint() else {}
        limits = {"NUM_STREAMS": str(self.streams), "INFERENCE_NUM_THREADS": str(self.streams * self.threads)}
        ours = {re.split("[.:]", self.device)[0]: {**hint, **(limits if self._on_cpu else {})}}
        try:
            theirs = cast("dict[str, dict[str, Any]]", json.loads(added))
            return {device: ours.get(device, {}) | theirs.get(device, {}) for device in ours | theirs}
        except (ValueError, TypeError, AttributeError) as error:
            raise ProviderError(
                f'provider_options.load_config must be JSON such as {{"CPU": {{"NAME": "VALUE"}}}}, and is {added}'
            ) from error
