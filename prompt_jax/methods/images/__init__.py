"""Image methods, one file each."""
