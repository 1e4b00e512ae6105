"""Clips: text-video retrieval."""
