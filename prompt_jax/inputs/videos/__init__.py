"""Reads frames of videos for CLIP: read opening, decoding, then sampling, transforms."""
