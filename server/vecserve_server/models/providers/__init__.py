"""Execution providers of ONNX Runtime: their options, what they need, and what is missing where they don't load."""
