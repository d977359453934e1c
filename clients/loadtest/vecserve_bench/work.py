"""What is sent to whom: the server asked, the requests built, and one of them tried."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecserve_bench.api import Api, TargetError
from vecserve_bench.batches import batches
from vecserve_bench.inputs import (
    SENTENCE,
    Inputs,
    Kind,
    drawn_images,
    drawn_texts,
    fixed_text,
    images_of,
    texts_of,
)
from vecserve_bench.oip import find_oip
from vecserve_bench.settings import Content, Service
from vecserve_bench.single_call import CallError, call
from vecserve_bench.typed import find_typed
from vecserve_loadtest import Workload


@dataclass(frozen=True, slots=True)
class Work:
    """Calls, ready to be sent."""

    api: Api
    kind: Kind
    workload: Workload
    sizes: Sequence[int]
    """Inputs of each message."""
    description: str
    notes: tuple[str, ...] = ()
    """What a reader of the results has to know of it."""


def prepare(service: Service, content: Content) -> Work:
    """Ask the server for its models, build the requests, and try the first.

    Raises:
        LoadError: If there is no gRPC server at the address.
        OSError: If a file can't be read.
        TargetError: If the server refuses the first call, or answers with something else than vectors.
        ValueError: If a setting can't be used.
    """
    given = _given(content)
    kind, api = _find(service, given.kind if given else None)
    inputs = given or (fixed_text(SENTENCE) if kind == "text" else drawn_images(seed=content.seed))
    grouped = batches(inputs.items, content.batch, content.seed)
    workload = Workload(
        api.method,
        [api.request(each) for each in grouped.calls],
        service.metadata,
        deadline=service.deadline,
        streamed=service.streamed,
    )
    work = Work(
        api,
        kind,
        workload,
        [len(each) for each in grouped.calls],
        f"{inputs.description}; {_per_call(content)}",
        _notes(grouped.left_out, inputs),
    )
    _try(service.address, work)
    return work


def _given(content: Content) -> Inputs | None:
    if content.text is not None:
        return fixed_text(content.text)
    if content.texts_file:
        return texts_of(content.texts_file)
    if content.words:
        return drawn_texts(content.words, seed=content.seed)
    if content.images_folder:
        return images_of(content.images_folder)
    if content.image_size:
        return drawn_images(*content.image_size, seed=content.seed)
    return None


def _find(service: Service, kind: Kind | None) -> tuple[Kind, Api]:
    if service.api == "oip":
        return find_oip(service.address, service.model, kind, service.metadata)
    return find_typed(
        service.address,
        service.model,
        kind,
        service.prompt,
        streamed=service.streamed,
        metadata=service.metadata,
    )


def _per_call(content: Content) -> str:
    sizes = content.batch
    return f"{sizes} a call" if sizes.fixed else f"{sizes} a call, {sizes.mean:.3g} on average"


def _notes(left_out: int, inputs: Inputs) -> tuple[str, ...]:
    if not left_out:
        return ()
    return (f"{left_out} of {len(inputs.items)} {inputs.kind}s were left out: requests are kept in memory",)


def _try(address: str, work: Work) -> None:
    """Make the first call, which also gives a server that loads lazily the time to."""
    try:
        response = call(address, _without_deadline(work.workload))
    except CallError as error:
        raise TargetError(f"{address} refuses the calls: {error.status.name}: {error}") from error
    try:
        vectors = work.api.vectors(response)
    except ValueError as error:
        raise TargetError(f"{address} answers, but not with vectors: {error}") from error
    if len(vectors) != work.sizes[0]:
        raise TargetError(f"{address} answers {work.sizes[0]} inputs with {len(vectors)} vectors")


def _without_deadline(workload: Workload) -> Workload:
    return Workload(workload.method, workload.messages[:1], workload.metadata, streamed=workload.streamed)
