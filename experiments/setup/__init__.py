"""Prepares a run from its config: read loading, plans, then preparation."""
