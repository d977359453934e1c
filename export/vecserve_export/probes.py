"""The probe set: ordinary texts and pictures, in groups of kin, so that the nearest of each mean something.

Figures are comparable only between artifacts that were measured on the same probes: a change here takes a new name.
"""

from collections.abc import Sequence
from importlib.resources import files

from vecserve_export.pictures import FAMILIES, picture

PROBE_SETS = {"text": "texts-1", "image": "images-1"}
"""Names, by modality."""

_FILE = "probes.txt"
_TOPIC = "# "
_PICTURES = 8
"""Of each family."""


def texts() -> Sequence[str]:
    """256 texts on 16 topics, 3 to 230 of BERT's tokens long; 14 are German, French or Spanish, the others English."""
    lines = files("vecserve_export").joinpath(_FILE).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith(_TOPIC)]


def images() -> Sequence[bytes]:
    """64 drawn pictures of 8 families, as PNG files of 320 x 240 pixels."""
    return [picture(family, number) for family in FAMILIES for number in range(_PICTURES)]
