"""Formats the help on every field of a config for --config=FILE --help.

The help comes from the declarations in config/ and the docstring of the method's `Settings`.
"""

import inspect
import re
import shlex
import textwrap
from collections.abc import Iterator

from data_pipelines import datasets
from experiments.config.config import FIELDS, Config
from experiments.record import identity
from experiments.setup import building
from prompt_jax import methods

WIDTH, INDENT = 96, "    "


def explain(config: Config) -> str:
    """Returns a paragraph per field: its flag with its value, help, and the allowed values.

    Raises:
        PromptError: the data set or method is unknown, or the settings do not fit the method.
    """
    building.check_names(config)
    method = building.check_settings(config)
    settings_help = of_settings(method.Settings)
    lines = []
    for name, value in identity.flat(config.to_dict()):
        lines.append(f"--config.{name}={shlex.quote(str(value))}")
        # A method from another package may lack documentation of its settings.
        setting = name.split(".")[-1]
        words = describe(name, config) if name in FIELDS else [settings_help.get(setting, "")]
        for text in words:
            lines += textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join(lines)


def describe(name: str, config: Config) -> list[str]:
    """Returns the help of a declared field, its allowed values, and its range and unit."""
    field = FIELDS[name]
    listed = {"method": method_names(config), "data.name": datasets.TABLE}
    found = [field.help]
    if choices := listed.get(name, field.choices):
        found.append(f"One of: {', '.join(map(shlex.quote, choices))}")
    if limits := ", ".join(filter(None, [field.range, field.unit and f"in {field.unit}"])):
        found.append(limits[0].upper() + limits[1:])
    return found


def method_names(config: Config) -> list[str]:
    """Returns the methods for a config's protocol and kind of data."""
    names = [] if config.protocol_spec.by_captions else list(methods.METHODS)
    if config.data.on_videos:
        names += [name for name in methods.ENCODERS if name not in names]
    return names


def of_settings(settings: type) -> dict[str, str]:
    """Returns the help of a method's settings by name, from the docstrings of `Settings`.

    A reference to a base ("see `VideoSettings`") is replaced by the base's own text.
    """
    found: dict[str, str] = {}
    for owner in settings.__mro__:
        for name, text in _attributes(owner.__doc__ or ""):
            if name not in found or found[name].startswith("see `"):
                found[name] = text
    return found


def _attributes(docstring: str) -> Iterator[tuple[str, str]]:
    """Yields names and texts of a docstring's section Attributes; "a, b: …" yields two names."""
    _, _, section = inspect.cleandoc(docstring).partition("Attributes:\n")
    for names, text in re.findall(r"^ {4}([\w, ]+): ((?:.|\n {8})+)", section, re.MULTILINE):
        for name in names.split(", "):
            yield name, " ".join(text.split())
