"""Reads batches ahead and mixes the videos of a batch."""
