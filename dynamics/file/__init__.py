"""A trajectory as one HDF5 file: how its rows are kept, written, locked and found again."""
