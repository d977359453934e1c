"""Numbers as reports show them. Pure."""

import math


def number(value: float) -> str:
    """Return up to four digits, thousands set apart: `0.1234`, `12.34`, `1,234`, `123,456`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)) + 1e-12))
    text = f"{value:,.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float) -> str:
    """Return a share as percent: `0 %`, `0.03 %`, `12 %`."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.4g} %"
