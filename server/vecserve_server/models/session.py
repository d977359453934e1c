"""ONNX Runtime sessions that run where they were told to, or say why not."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from vecserve_server.cores import own_cores
from vecserve_server.models.manifest import Manifest
from vecserve_server.models.providers.provider import Cpu, Provider, ProviderError
from vecserve_server.threads import COMPUTING, kept_on, yield_to_others

# An ONNX model of one node, y = Add(x, x), on `(n,)` float32: enough to have a provider load.
_PROBE = (
    b'\x08\x08:7\n\x0e\n\x01x\n\x01x\x12\x01y"\x03Add\x12\x01gZ\x10\n\x01x\x12\x0b\n\t\x08\x01\x12\x05\n\x03\x12\x01nb'
    b"\x10\n\x01y\x12\x0b\n\t\x08\x01\x12\x05\n\x03\x12\x01nB\x04\n\x00\x10\r"
)

# Microseconds for which threads that may share a core spin: about what a wake-up takes.
_SHORT_SPIN = "20"


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Where and how graphs run."""

    provider: Provider = field(default_factory=Cpu)
    intra_op_threads: int = 1
    """Threads of one run. With 1, a run stays on the thread that calls it."""
    alone_threads: int = 1
    """Threads of a run that has the cores to itself. With no more than others, it is run as any other."""

    def fitted(self, manifest: Manifest) -> Self:
        """The same for one artifact."""
        return replace(self, provider=self.provider.fitted(manifest))


class Graph:
    """An ONNX graph loaded onto one execution provider.

    Thread-safe: several instances run it at once and share its weights. Runs that have the cores to themselves have
    weights of their own, if they have more threads: ONNX Runtime's threads belong to a session.
    """

    def __init__(self, file: Path, options: SessionOptions) -> None:
        """Loads a graph onto the provider that was asked for.

        Raises:
            ProviderError: the installed ONNX Runtime lacks the provider, its libraries or device are missing, or it
                runs nothing of this graph. ONNX Runtime itself would go on with the CPU (onnxruntime#17801).
        """
        self._provider = options.provider
        self._runs: dict[int, Any] = {}
        """Options of the runs that threads are at, by thread."""
        _require_installed(options.provider)
        try:
            self._session = _open(file, options.provider, _session_options(options.intra_op_threads))
            self._alone = _RunsAlone(file, options) if options.alone_threads > options.intra_op_threads else None
        except ProviderError:
            raise
        except Exception:
            require_provider(options.provider)  # it may be at fault, and not the graph
            raise
        _check_placement(file, options.provider, self._session)

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of it."""
        return self._provider.name

    @property
    def most_items(self) -> int | None:
        """Most items that one run takes; None if it takes any number."""
        return self._provider.most_items

    @property
    def is_faster_alone(self) -> bool:
        """Whether runs that have the cores to themselves have more threads."""
        return self._alone is not None

    def computed_in(self, precision: str) -> str:
        """The lowest precision that it may be computed in, if it is of `precision` itself."""
        return self._provider.computed_in(precision)

    @property
    def inputs(self) -> dict[str, list[int | str | None]]:
        """Shapes of the inputs by name; a dynamic dimension is a name or None."""
        return {node.name: node.shape for node in cast("list[Any]", self._session.get_inputs())}

    @property
    def outputs(self) -> dict[str, list[int | str | None]]:
        """Shapes of the outputs by name."""
        return {node.name: node.shape for node in cast("list[Any]", self._session.get_outputs())}

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, by key."""
        return cast("dict[str, str]", self._session.get_modelmeta().custom_metadata_map)

    def run(self, output: str, feeds: Mapping[str, NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        """Computes one output, `(batch, ...)`; `alone` if nothing else wants the cores."""
        run = self._alone.run if alone and self._alone else self._session.run
        options, thread = cast("Any", ort.RunOptions()), threading.get_ident()
        self._runs[thread] = options
        try:
            return cast("NDArray[np.float32]", run([output], feeds, options)[0])
        finally:
            del self._runs[thread]

    def terminate(self, thread: int) -> None:
        """Has the run that a thread is at fail, if there is one, before its next node; a node itself is not ended."""
        if options := self._runs.get(thread):
            options.terminate = True


def require_provider(provider: Provider) -> None:
    """Has a provider load, with a graph of one node: without reading a model, whose size would take time.

    Raises:
        ProviderError: it does not, and why.
    """
    _require_installed(provider)
    try:
        _open(_PROBE, provider, _session_options(threads=1))
    except ProviderError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise _refusal(provider, [*provider.missing(), f"ONNX Runtime says: {' '.join(str(error).split())}"]) from error


def _require_installed(provider: Provider) -> None:
    available = cast("list[str]", ort.get_available_providers())
    if provider.name not in available:
        raise ProviderError(
            f"{provider.name} is not in the installed onnxruntime {ort.__version__}, which has "
            f"{', '.join(available)}. Install {provider.packages}"
        )


class _RunsAlone:
    """Runs a graph with the cores to itself, for one thread at a time.

    Where there are as many threads as cores, each has one of its own, the caller included, and spins when it has to
    wait. Elsewhere two may find themselves on the same core, where one that spins keeps the other from working: after a
    pause two threads took 9.1 ms for a short text, and one 6.6 (means).
    """

    def __init__(self, file: Path, options: SessionOptions) -> None:
        threads, cores = options.alone_threads, own_cores()
        self._core = cores[0] if len(cores) == threads else None
        """Of the calling thread, if each has one."""
        settings = _session_options(threads, spins=True)
        if self._core is None:
            settings.add_session_config_entry("session.intra_op.spin_duration_us", _SHORT_SPIN)
        else:  # ONNX Runtime counts from 1, and leaves out the calling thread
            affinities = ";".join(str(core + 1) for core in cores[1:])
            settings.add_session_config_entry("session.intra_op_thread_affinities", affinities)
        # Its threads are as nice as the one that starts them, and these compute.
        with ThreadPoolExecutor(1, initializer=yield_to_others, initargs=(COMPUTING,)) as thread:
            self._session = thread.submit(_open, file, options.provider, settings).result()

    def run(self, outputs: list[str], feeds: Mapping[str, NDArray[Any]], options: Any) -> list[Any]:
        """As the session's."""
        with kept_on(self._core):
            return self._session.run(outputs, feeds, options)


def _open(model: Path | bytes, provider: Provider, settings: Any) -> Any:
    chain = provider.chain()
    provider.prepare()
    session = ort.InferenceSession(
        model,
        sess_options=settings,
        providers=chain,
        disabled_optimizers=list(provider.slower_fusions),
        enable_fallback=0,
    )
    loaded = cast("list[str]", session.get_providers())
    if loaded[: len(chain)] != [name for name, _ in chain]:
        silent = [f"ONNX Runtime chose {', '.join(loaded)}, and its own message stands above"]
        raise _refusal(provider, provider.missing() or silent)
    return session


def _refusal(provider: Provider, reasons: list[str]) -> ProviderError:
    return ProviderError(f"{provider.name} did not load: {'; '.join(reasons)}")


def _check_placement(file: Path, provider: Provider, session: Any) -> None:
    """Refuses a provider that loaded and left the whole graph to others; before ONNX Runtime 1.24, none tells."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return
    placed = {part.ep_name for part in session.get_provider_graph_assignment_info()}
    if placed and provider.name not in placed:  # nothing is placed of a graph that was folded into constants
        raise ProviderError(f"{provider.name} runs nothing of {file}: all of it is on {', '.join(sorted(placed))}")


def _session_options(threads: int, *, spins: bool = False) -> Any:
    settings = cast("Any", ort.SessionOptions())
    settings.intra_op_num_threads = threads
    # Threads that spin take the cores that other instances and gRPC need. None may between runs.
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # A plan of the memory is kept for every shape that ever came, and texts have many. Without, as fast and smaller.
    settings.enable_mem_pattern = False
    return settings
