"""From a model to a graph; torch, transformers and optimum live here and nowhere else."""
