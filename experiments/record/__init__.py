"""Reads and writes the files of run directories: workdir, identity, log, runs."""
