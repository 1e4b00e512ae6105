"""Runs this library for the benchmark."""
