"""Class names, templates and the cleaning of texts before tokenization. Imports no JAX."""
