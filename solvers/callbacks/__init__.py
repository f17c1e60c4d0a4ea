"""Our trajectory from the training loops of other packages: a callback each."""
