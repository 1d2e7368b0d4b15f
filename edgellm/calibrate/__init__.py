"""Calibration text, and what a model's activations look like on it."""
