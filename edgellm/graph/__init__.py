"""ONNX graphs: build, read, write, look into; the only place that knows onnx and onnx_ir."""
