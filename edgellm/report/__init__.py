"""Reports of measured runs: summaries, statistics, comparison, text."""
