"""What is new in a trajectory since the last look, for a few hundred microseconds a look."""
