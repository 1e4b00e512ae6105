"""Plans a run for an accelerator that is not available, with its own compiler."""
