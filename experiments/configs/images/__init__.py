"""Configs of image classification: methods, protocols for any method, and ablations."""
