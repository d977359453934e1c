"""What all parts of a manifest are."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Fields that are set once: unknown ones are refused, and so are NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
