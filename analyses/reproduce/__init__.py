"""One file a paper: its claims, measured."""
