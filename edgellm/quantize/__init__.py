"""Weights of an exported graph to fewer bits."""
