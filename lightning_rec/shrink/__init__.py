"""Trained models in fewer bytes, or without PyTorch: ONNX, eight-bit weights and item tables."""
