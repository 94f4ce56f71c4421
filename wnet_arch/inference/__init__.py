"""Networks with weights on LR faces: by name, from a run, from ONNX; the one place that runs them. Products stand on this room."""
