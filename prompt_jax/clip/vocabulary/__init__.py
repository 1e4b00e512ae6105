"""CLIP's byte-pair encoding and its published merges."""
