"""What compression cost in quality: perplexity, KL divergence, top-1 agreement."""
