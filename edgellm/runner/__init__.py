"""Runs bundles on a board: numpy, onnxruntime and tokenizers, nothing else."""
