"""Data sets, few-shot sampling, transforms and batches; knows nothing of models."""
