"""Image classification: a config a method, the protocols that take any method, the ablations."""
