"""Installs prompt_jax, whose metadata and dependencies are declared in pyproject.toml."""

from setuptools import setup

setup()
