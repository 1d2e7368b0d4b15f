"""Structural pruning of exported graphs: what goes makes the model smaller and faster."""
