"""`server-timing` trailers taken apart, as the W3C has them: `preprocess;dur=0.1, queue;dur=0.4`. Pure."""

import math


def durations(trailer: str) -> dict[str, float]:
    """Return the milliseconds of each metric that has a duration, in their order."""
    found: dict[str, float] = {}
    for metric in trailer.split(","):
        name, *parameters = (part.strip() for part in metric.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "dur" and (duration := _number(value.strip().strip('"'))) is not None:
                found[name] = duration
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
