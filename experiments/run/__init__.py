"""Runs experiments: one run in experiment.py, several in sweep.py, evaluations."""
