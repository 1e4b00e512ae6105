"""Configs of images and videos: one file per method, protocol or ablation."""
