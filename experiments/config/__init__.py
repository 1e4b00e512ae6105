"""Declares the fields of an experiment: types, ranges, help and role in a run's identity."""
