"""How much one call, text or image may be."""

from pydantic import Field
from pydantic_settings import BaseSettings

from vecserve_server.config.types import Count
from vecserve_server.models.inputs import InputLimits


class LimitSettings(BaseSettings):
    """What is refused before it costs anything, and what is remembered of the rest."""

    max_batch_items: Count = Field(default=256, description="most texts or images of one call")
    max_text_characters: Count = Field(
        default=100_000,
        description="most characters of one text, refused before tokenizing, which costs up to 5 µs and 500 bytes each",
    )
    max_image_bytes: Count = Field(default=20 * 2**20, description="most bytes of one encoded image")
    max_image_pixels: Count = Field(
        default=50_000_000,
        le=178_000_000,  # beyond which Pillow refuses by itself
        description="most pixels of one image, refused from its header before decoding",
    )

    max_known_words: int = Field(
        default=65_536,
        ge=0,
        description="most words of texts whose tokens each model keeps in memory, 0 for none: it tokenizes text of "
        "known words 20 times as fast",
    )

    @property
    def input_limits(self) -> InputLimits:
        return InputLimits(self.max_text_characters, self.max_image_bytes, self.max_image_pixels, self.max_known_words)
