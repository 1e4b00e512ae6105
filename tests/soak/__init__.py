"""Damaged and hostile files by the thousand, processes killed at random: `python -m tests.soak`."""
