"""Handles interruption, error messages and progress bars of all commands."""
