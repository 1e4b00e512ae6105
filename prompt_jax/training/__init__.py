"""Trains prompts: the step, optimizers, recipes, sharding and checkpoints."""
