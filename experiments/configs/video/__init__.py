"""Videos: text-video retrieval, and action recognition."""
