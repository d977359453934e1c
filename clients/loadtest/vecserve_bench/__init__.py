"""`vecserve bench`: load on a vecserve or Open Inference Protocol server, and what it does to latency.

`vecserve_loadtest` makes the load. This package decides what to send and how fast, and tells what was measured.
"""
