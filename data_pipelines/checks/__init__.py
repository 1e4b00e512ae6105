"""Finds problems in data sets: missing files, duplicates across splits, misleading names."""
