"""Layouts of data sets on disk: read layout, then coop, imagenet, folders, tfds_source."""
