"""Decodes and transforms images for CLIP: read decoding, then files, transforms."""
