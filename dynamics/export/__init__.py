"""Trajectories in other programs' formats: netCDF-4, CSV, TensorBoard event files."""
