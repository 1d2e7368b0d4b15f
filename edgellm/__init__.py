"""Take a transformer from a workstation to a small ARM board, and measure how it runs there.

Imports nothing: a board that wants the runner pays for the runner only.
"""

__version__ = "0.1.0"
