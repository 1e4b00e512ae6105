"""The table of data sets: read entry, then table."""
