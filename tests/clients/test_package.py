import subprocess
import sys

import vecserve


def test_the_public_names_are_these() -> None:
    assert vecserve.__all__ == [
        "AsyncClient",
        "BadResponseError",
        "BatchTooLargeError",
        "Client",
        "DeadlineExceededError",
        "DefaultModelError",
        "Embeddings",
        "Fidelity",
        "FieldViolation",
        "ImageInput",
        "InferenceFailedError",
        "InvalidInputError",
        "ModelChangedError",
        "ModelFailingError",
        "ModelInfo",
        "ModelLoadError",
        "ModelNotFoundError",
        "ModelVersion",
        "NotReadyError",
        "OverloadedError",
        "RetryPolicy",
        "Tls",
        "UnauthenticatedError",
        "UnavailableError",
        "VecserveError",
        "WrongModalityError",
        "__version__",
    ]
    assert all(hasattr(vecserve, name) for name in vecserve.__all__)


def test_every_exception_is_public_and_drawn_in_the_tree() -> None:
    import vecserve.errors

    kinds = [vecserve.VecserveError]
    for kind in kinds:
        kinds += kind.__subclasses__()

    assert {kind.__name__ for kind in kinds} == {name for name in vecserve.__all__ if name.endswith("Error")}
    assert all(kind.__name__ in (vecserve.errors.__doc__ or "") for kind in kinds)


def test_importing_the_client_imports_nothing_but_its_own_dependencies() -> None:
    imported = "import sys, vecserve; print(*{name.partition('.')[0] for name in sys.modules})"

    output = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True).stdout

    extras = {"PIL", "rich", "onnxruntime", "torch", "pydantic", "tokenizers"}
    assert not extras & set(output.split())
