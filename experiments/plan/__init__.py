"""Plans a run for an accelerator that is not there, with the accelerator's own compiler."""
