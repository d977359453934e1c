"""Which models are served."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class ModelSettings(BaseSettings):
    """Where models are, and which of them calls mean that name none."""

    models: Path = Field(
        default=Path("models"),
        description="directory of artifacts, <name>/<version>/; of each name the highest version is served",
    )
    default_text_model: str | None = Field(
        default=None, description="model of EmbedText calls that name none; the first by name if not set"
    )
    default_image_model: str | None = Field(
        default=None, description="model of EmbedImage calls that name none; the first by name if not set"
    )
