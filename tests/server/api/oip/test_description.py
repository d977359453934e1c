from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.oip import model_config_pb2 as config_pb
from vecserve_server.api.oip.description import configuration, metadata
from vecserve_server.api.oip.statistics import statistics
from vecserve_server.engine.statistics import Statistics
from vecserve_server.engine.timings import Timings
from vecserve_server.models.model import ImageModel, TextModel


def test_a_text_model_takes_text(text_model: TextModel) -> None:
    described = metadata(text_model, ["1"])

    (given,) = described.inputs
    assert (given.name, given.datatype, list(given.shape)) == ("text", "BYTES", [-1, 1])
    (output,) = described.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("embedding", "FP32", [-1, 8])
    assert (described.name, list(described.versions)) == ("tiny-text", ["1"])


def test_an_image_model_takes_images(image_model: ImageModel) -> None:
    described = metadata(image_model, ["1"])

    assert [(given.name, given.datatype, list(given.shape)) for given in described.inputs] == [
        ("image", "BYTES", [-1, 1])
    ]
    assert list(described.outputs[0].shape) == [-1, 3]


def test_the_configuration_leaves_the_batch_out(text_model: TextModel) -> None:
    config = configuration(text_model, max_items=7)

    assert (config.name, config.max_batch_size) == ("tiny-text", 7)
    assert list(config.input) == [config_pb.ModelInput(name="text", data_type=config_pb.TYPE_STRING, dims=[1])]
    assert list(config.output) == [config_pb.ModelOutput(name="embedding", data_type=config_pb.TYPE_FP32, dims=[8])]
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config.parameters["alternative_inputs"].string_value.startswith("input_ids (INT64 [n, s]")


def test_metadata_and_configuration_agree(text_model: TextModel, image_model: ImageModel) -> None:
    # perf_analyzer refuses a configuration with inputs that the metadata lacks.
    for model in (text_model, image_model):
        described, config = metadata(model, ["1"]), configuration(model, max_items=7)
        assert [given.name for given in described.inputs] == [given.name for given in config.input]
        for pair in (
            zip(described.inputs, config.input, strict=True),
            zip(described.outputs, config.output, strict=True),
        ):
            assert all(list(whole.shape) == [-1, *part.dims] for whole, part in pair)


def test_statistics_are_told_in_nanoseconds(text_model: TextModel) -> None:
    known = Statistics(lambda: 1000.5)
    known.answered("tiny-text", Timings(preprocess=1e-9, queue=2e-9, infer=1.0, output=0.25))
    known.answered("tiny-text", Timings(preprocess=0, queue=0, infer=0.5, output=0))
    known.unanswered("tiny-text", 0.125)
    model = known.of("tiny-text")
    model.items = 5
    model.batches[3].add(1.0)
    model.batches[2].add(0.5)
    model.batches[3].add(1.0)

    told = statistics(text_model, model)

    duration = pb.StatisticDuration
    assert told == pb.ModelStatistics(
        name="tiny-text",
        version="1",
        last_inference=1000500,
        inference_count=5,
        execution_count=3,
        inference_stats=pb.InferStatistics(
            success=duration(count=2, ns=1_750_000_003),
            fail=duration(count=1, ns=125_000_000),
            queue=duration(count=2, ns=2),
            compute_input=duration(count=2, ns=1),
            compute_infer=duration(count=2, ns=1_500_000_000),
            compute_output=duration(count=2, ns=250_000_000),
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=2, compute_infer=duration(count=1, ns=500_000_000)),
            pb.InferBatchStatistics(batch_size=3, compute_infer=duration(count=2, ns=2_000_000_000)),
        ],
    )
