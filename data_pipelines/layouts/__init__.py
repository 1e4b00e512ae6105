"""How data sets lie on disk: read layout, then coop, imagenet, folders, tfds_source."""
