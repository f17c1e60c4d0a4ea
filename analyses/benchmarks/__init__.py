"""Speed against peers and against the floor; results are kept as JSON with the machine they ran on."""
