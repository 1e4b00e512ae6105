"""Clips: text-video retrieval, and action recognition."""
