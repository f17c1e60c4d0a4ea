"""Files from anywhere, looked at by a child process with limits."""
