"""Reads and writes a run's files: results.json, predictions, ranks, confusions."""
