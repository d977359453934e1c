"""`vecserve embed text` and `vecserve embed image`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from vecserve.chunks import Dtype, Truncation
from vecserve.commands import output
from vecserve.commands.connection import UsageError, add_options, connect, positive
from vecserve.embeddings import Embeddings
from vecserve.images import ImageInput

_STDIN = "-"

_TEXT_EXAMPLES = """examples:
  vecserve embed text "a cat on a mat" "a dog in the fog"
  vecserve embed text --model all-minilm-l6-v2 --output titles.npy < titles.txt
  vecserve embed text --json -- "-5 degrees"      a text that starts with a dash
"""

_IMAGE_EXAMPLES = """examples:
  vecserve embed image cat.jpg dog.png
  curl -s https://example.com/cat.jpg | vecserve embed image --json -
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `embed` its two kinds of input."""
    kinds = parser.add_subparsers(title="inputs", metavar="INPUT", required=True)
    text = kinds.add_parser(
        "text",
        help="embed texts",
        description="Embed texts and show their vectors and how alike they are.",
        epilog=_TEXT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _configure_text(text)
    image = kinds.add_parser(
        "image",
        help="embed images",
        description="Embed image files and show their vectors and how alike they are.",
        epilog=_IMAGE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _configure_image(image)


def _configure_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "texts",
        nargs="*",
        metavar="TEXT",
        help="text to embed; none, or -, reads stdin: a text per line, blank lines skipped",
    )
    parser.add_argument("--model", default="", help="text model (default: the server's)")
    parser.add_argument("--prompt", default="", help="name of one of the model's prompts, put before each text")
    parser.add_argument(
        "--truncation",
        choices=get_args(Truncation),
        default="end",
        help="which end of a text too long for the model is cut off; none: refuse such texts (default: end)",
    )
    _add_vector_options(parser)
    add_options(parser)
    parser.set_defaults(run=_run_text)


def _configure_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="image file to embed; - reads one from stdin")
    parser.add_argument("--model", default="", help="image model (default: the server's)")
    _add_vector_options(parser)
    add_options(parser)
    parser.set_defaults(run=_run_image)


def _add_vector_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="scale vectors to unit length, or don't (default: as the model does)",
    )
    parser.add_argument("--dimensionality", type=positive, metavar="N", help="keep the first N elements (default: all)")
    parser.add_argument(
        "--dtype", choices=get_args(Dtype), default="float32", help="type of each element (default: float32)"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="N", help="most inputs in one request (default: 32)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE.npy",
        help="write the vectors there, as numpy.save does, instead of printing a table",
    )


def _run_text(arguments: argparse.Namespace) -> None:
    texts = _texts(arguments.texts)
    present = _presenter(arguments, "text")
    with connect(arguments, arguments.batch_size) as client:
        embeddings = client.embed_text(
            texts,
            model=arguments.model,
            prompt=arguments.prompt,
            truncation=arguments.truncation,
            normalize=arguments.normalize,
            dimensionality=arguments.dimensionality,
            dtype=arguments.dtype,
        )
    present(texts, embeddings)


def _run_image(arguments: argparse.Namespace) -> None:
    images: list[ImageInput] = [_image(path) for path in arguments.paths]
    present = _presenter(arguments, "image")
    with connect(arguments, arguments.batch_size) as client:
        embeddings = client.embed_images(
            images,
            model=arguments.model,
            normalize=arguments.normalize,
            dimensionality=arguments.dimensionality,
            dtype=arguments.dtype,
        )
    present(arguments.paths, embeddings)


def _presenter(arguments: argparse.Namespace, kind: str) -> Callable[[Sequence[str], Embeddings], None]:
    """Return what shows the vectors; whatever speaks against that is raised now, before the server is asked."""
    path: Path | None = arguments.output
    if path is not None:
        output.check_writable(path)
    if path is None and not arguments.json:
        from vecserve.commands import tables

        return lambda inputs, embeddings: tables.print_embeddings(kind, inputs, embeddings)

    def present(inputs: Sequence[str], embeddings: Embeddings) -> None:
        if path is not None:
            output.save(path, embeddings)
        if arguments.json:
            output.print_json(inputs, embeddings)

    return present


def _texts(arguments: Sequence[str]) -> list[str]:
    """Return the texts that the arguments give, stdin's in the place of a dash.

    Raises:
        UsageError: If there are none, or one isn't UTF-8.
    """
    texts: list[str] = []
    for argument in arguments or [_STDIN]:
        texts += _lines() if argument == _STDIN else [_utf8(argument)]
    if not texts:
        raise UsageError("there is nothing to embed: stdin has no line that isn't blank")
    return texts


def _lines() -> list[str]:
    if sys.stdin.isatty():
        print("vecserve: reading texts from the terminal, one per line; Ctrl-D ends", file=sys.stderr)
    lines: list[str] = []
    for number, line in enumerate(sys.stdin.buffer.read().splitlines(), 1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            raise UsageError(f"line {number} of stdin isn't UTF-8: {error}") from error
    return [line for line in lines if line.strip()]


def _utf8(argument: str) -> str:
    try:
        argument.encode()
    except UnicodeEncodeError as error:  # Python keeps foreign bytes of the command line as surrogates
        raise UsageError(f"an argument isn't UTF-8: {error}") from error
    return argument


def _image(path: str) -> ImageInput:
    return sys.stdin.buffer.read() if path == _STDIN else path
