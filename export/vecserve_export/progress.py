"""What an export tells the person who waits for it, on stderr."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext

from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def step(label: str, *, shows_progress: bool = False) -> Generator[None]:
    """Announces a long step, and says afterwards how many seconds it took.

    Args:
        label: what is done.
        shows_progress: whether the step draws a bar of its own, which a spinner would tear.
    """
    started = time.perf_counter()
    spins = console.is_terminal and not shows_progress
    if not spins:
        console.print(f"{label} …", markup=False)
    with console.status(f"{label} …") if spins else nullcontext():
        yield
    console.print(f"{label}: {time.perf_counter() - started:.1f} s", markup=False)


def notice(message: str) -> None:
    """Says something that must not be missed."""
    console.print(message, style="yellow", markup=False)


@contextmanager
def quiet_transformers() -> Generator[None]:
    """Silences transformers' progress bar of loading, and its table of unused weights.

    The exporter checks by itself which weights are missing; unused ones, such as a language model's head, are usual.
    """
    from transformers.utils import logging as transformers_logging

    # A filter: transformers takes a level set on this logger as a wish to hear of tensor parallelism.
    loading = logging.getLogger("transformers.modeling_utils")
    had_bar = transformers_logging.is_progress_bar_enabled()
    loading.addFilter(_is_error)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        loading.removeFilter(_is_error)
        if had_bar:
            transformers_logging.enable_progress_bar()


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
