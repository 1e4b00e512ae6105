"""Methods of images, one file each."""
