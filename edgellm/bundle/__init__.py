"""A stage folder becomes what goes to the board, with its own runner."""
