"""Reads the videos of data sets."""
