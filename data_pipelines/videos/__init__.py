"""Readers of clips for data sets."""
