"""A trajectory as a directory of closed files, for file systems without locks."""
