"""Solutions without a closed form: how each is computed, how good it is, and where it is kept."""
