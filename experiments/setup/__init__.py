"""Prepares a run from its config: read building, plans, then preparation."""
