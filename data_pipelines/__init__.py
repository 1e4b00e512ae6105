"""Data sets, few-shot sampling, transforms and batches; knows nothing of models.

Read datasets and examples, then layouts/, images/ and scenes/, then sampling, loader, reading.
"""
