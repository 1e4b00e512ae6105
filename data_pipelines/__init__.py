"""Data sets, few-shot sampling and batches, independent of models.

Read datasets and examples, then layouts/, images/ and scenes/, then sampling, loader, reading.
"""
