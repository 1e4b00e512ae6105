"""Readers of images for data sets, and checks of many files."""
