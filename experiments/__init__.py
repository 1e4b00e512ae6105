"""Commands, one per file, and the packages that configure, run, record and plot experiments."""
