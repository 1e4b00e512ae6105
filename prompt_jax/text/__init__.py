"""Class names, templates and how texts are cleaned before they are tokenized. Imports no JAX."""
