"""Reads images and videos and prepares them for the image tower; imports no JAX."""
