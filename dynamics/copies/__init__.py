"""Copies of a trajectory, exact and verified: to recover, to repack, to go on from."""
