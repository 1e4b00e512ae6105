"""Readers of pictures for data sets, and checks of many files."""
