"""Reads CLIP checkpoints of every library: files, layouts, configs, preprocessing."""
