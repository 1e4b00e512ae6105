"""Configs by task, one per method, protocol or ablation; they start from default.py."""
