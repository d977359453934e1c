"""Models: artifacts on disk, the preprocessing they name, and the ONNX Runtime sessions that run them."""
