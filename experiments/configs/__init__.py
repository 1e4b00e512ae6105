"""Every field of an experiment in default.py; a folder a task, with a config a method there."""
