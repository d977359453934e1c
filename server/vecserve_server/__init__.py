"""The vecserve server: ONNX models behind gRPC."""
