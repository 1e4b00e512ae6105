"""Reads CLIP checkpoints of several libraries: files, layouts, configs, preprocessing."""
