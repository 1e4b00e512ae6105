"""Repeats published tables: needs, weights, zero-shot figures, then the rows."""
