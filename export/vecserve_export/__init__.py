"""Exports PyTorch models as the ONNX artifacts that the vecserve server reads."""
