"""Which models are served."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, CliImplicitFlag

from vecserve_server.config.types import Count, Seconds


class ModelSettings(BaseSettings):
    """Where models are, which of their versions are served, and which of them calls mean that name none."""

    models: Path = Field(
        default=Path("models"),
        description="directory of artifacts, <name>/<version>/; of each name the highest version is served",
    )
    model_versions: Count = Field(
        default=1,
        description="how many versions of each name are served, the highest; calls that name no version, as in "
        "NAME@VERSION, mean the highest of all",
    )
    pin: dict[str, Count] = Field(
        default={},
        description="NAME=VERSION: no version above it is served, whatever appears. In the environment as JSON",
    )
    default_text_model: str | None = Field(
        default=None, description="model of EmbedText calls that name none; the first by name if not set"
    )
    default_image_model: str | None = Field(
        default=None, description="model of EmbedImage calls that name none; the first by name if not set"
    )
    poll_models_seconds: Seconds | None = Field(
        default=None,
        description="how often to look for new models and versions, which then take over; never if not set",
    )
    admin: CliImplicitFlag[bool] = Field(
        default=False,
        description="answer vecserve.v1.AdminService, which loads and unloads models: off, as whoever reaches it "
        "decides which vectors everybody gets. With one worker only, as a call reaches one",
    )
