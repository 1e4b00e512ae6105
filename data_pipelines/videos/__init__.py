"""Readers of videos for data sets."""
