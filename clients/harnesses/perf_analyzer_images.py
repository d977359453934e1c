"""Writes image files as the input data that perf_analyzer reads.

python perf_analyzer_images.py cat.jpg dog.png > images.json
"""

import base64
import json
import struct
import sys
from pathlib import Path


def input_data(files: list[str]) -> str:
    """One request for each file. An element of BYTES has its length before it, which perf_analyzer doesn't add."""
    contents = [Path(file).read_bytes() for file in files]
    elements = [base64.b64encode(struct.pack("<I", len(content)) + content).decode() for content in contents]
    return json.dumps({"data": [{"image": {"b64": element}} for element in elements]})


if __name__ == "__main__":
    print(input_data(sys.argv[1:]))
