"""From files of images and videos to what the image tower takes; imports no JAX."""
