"""Runs experiments: read experiment, training, then sweep."""
