"""Reads and writes files safely: bounded, checked against a schema, replaced atomically."""
