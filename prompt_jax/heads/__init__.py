"""Trainable modules behind the towers."""
