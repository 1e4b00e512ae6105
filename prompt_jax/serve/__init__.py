"""A small example server that classifies images: `python -m prompt_jax.serve RUN`."""
