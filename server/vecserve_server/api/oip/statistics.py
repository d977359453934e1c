"""The engine's sums as the protocol's statistics. Pure."""

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve_server.engine.statistics import Duration, ModelStatistics
from vecserve_server.models.model import AnyModel


def statistics(model: AnyModel, known: ModelStatistics) -> pb.ModelStatistics:
    """What the model has done."""
    return pb.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=int(known.last_call * 1e3),
        inference_count=known.items,
        execution_count=sum(batches.count for batches in known.batches.values()),
        inference_stats=pb.InferStatistics(
            success=_duration(known.answered),
            fail=_duration(known.unanswered),
            queue=_duration(known.queue),
            compute_input=_duration(known.preprocess),
            compute_infer=_duration(known.infer),
            compute_output=_duration(known.output),
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=size, compute_infer=_duration(batches))
            for size, batches in sorted(known.batches.items())
        ],
    )


def _duration(known: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=known.count, ns=round(known.seconds * 1e9))
