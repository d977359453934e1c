"""The Open Inference Protocol: named tensors to the engine's inputs, and vectors to tensors."""
