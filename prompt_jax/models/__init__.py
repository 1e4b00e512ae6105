"""Fits, loads, saves and shares trained models; start with `model`, then `saved`."""
