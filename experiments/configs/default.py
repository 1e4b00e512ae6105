"""Builds the default config of a method; experiments/config/config.py declares the fields."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.config.config import Config
from prompt_jax import methods
from prompt_jax.errors import unknown

_KINDS: dict[str, Callable[[str], Any]] = {
    "images": methods.get,
    "pictures": methods.get,
    "videos": methods.get_encoders,
    "clips": methods.get_encoders,
}


def get_config(method: str = "pro_mpt", kind: str = "images", **settings) -> ConfigDict:
    """Returns the default config with the settings of a method; not meant to be run as is.

    Args:
        method: name of a method of this kind, or "module:ATTRIBUTE", which is imported.
        kind: "images" or "videos"; the former names "pictures" and "clips" are accepted.
        **settings: settings that differ from the method's published defaults.

    Raises:
        PromptError: the method, kind or setting is unknown.
    """
    if kind not in _KINDS:
        raise unknown("kind of data", kind, _KINDS)
    if methods.outside.is_outside(method):
        methods.outside.load(method)
    usual = _KINDS[kind](method).Settings
    known = [field.name for field in dataclasses.fields(usual)]
    if wrong := next((name for name in settings if name not in known), None):
        raise unknown(f"setting of {method}", wrong, known)
    c = ConfigDict(Config(method=method, settings=dataclasses.asdict(usual(**settings))).to_dict())
    c.lock()  # setting a misspelled field raises an error
    return c


def vary(c: ConfigDict, name: str, variants: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Sets an ablation in a config: one run per variant.

    Args:
        c: config, modified in place.
        name: name of the ablation, for its table.
        variants: settings that differ, by label, e.g. {"N=1": {"iterations": 1}}.

    Returns:
        `c`.
    """
    c.ablation = name
    c.variants = tuple(
        (label, tuple((f"settings.{field}", value) for field, value in changes.items()))
        for label, changes in variants.items()
    )
    return c
