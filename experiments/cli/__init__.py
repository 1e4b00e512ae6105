"""Handles error messages and processes of the commands of experiments."""
