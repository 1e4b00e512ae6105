"""The defaults that a method's config starts from; experiments/config/config.py declares them."""

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
    """Returns the defaults with one method's settings; not a configuration to run by itself.

    Args:
        method: a name from the table of methods of that kind, or "module:ATTRIBUTE", which is
            imported.
        kind: "images", or "videos" for a method of videos and texts. Earlier names of these are
            "pictures" and "clips".
        **settings: where the method's settings differ from their published defaults.

    Raises:
        PromptError: there is no such method, kind or setting.
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
    c.lock()  # a misspelt field is an error where it is set
    return c


def vary(c: ConfigDict, name: str, variants: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Sets an ablation in a config: one run per variant.

    Args:
        c: the config, which is changed.
        name: of the ablation, for its table.
        variants: label to the settings that differ, e.g. {"N=1": {"iterations": 1}}.

    Returns:
        `c`.
    """
    c.ablation = name
    c.variants = tuple(
        (label, tuple((f"settings.{field}", value) for field, value in changes.items()))
        for label, changes in variants.items()
    )
    return c
