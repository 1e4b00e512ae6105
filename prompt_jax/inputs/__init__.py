"""From files of pictures and clips to what the image tower takes; imports no JAX."""
