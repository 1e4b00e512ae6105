"""Every field of a config explained: what --config=FILE --help prints.

The words are those that stand where a field is made: the comments of configs/default.py, and the
docstring of the method's `Settings`. What a field may hold is read from the tables that check it.
"""

import ast
import inspect
import re
import shlex
import textwrap
import tokenize
from collections.abc import Iterable, Iterator

from ml_collections import ConfigDict

from data_pipelines import datasets
from experiments.configs import default
from experiments.record import identity
from experiments.setup import building, protocols
from prompt_jax import methods

WIDTH, INDENT = 96, "    "


def explain(config: ConfigDict) -> str:
    """A paragraph a field: how it is given with its value, its explanation, what it may hold.

    Raises:
        PromptError: a field holds what is in none of these tables, e.g. no method of this data.
    """
    building.check_choices(config)
    building.check_settings(config)
    said, allowed = explanations(config), choices(config)
    values = dict(identity.flat(config.to_dict()))
    lines = []
    # What a method from outside does not explain comes last, without words.
    for name in dict.fromkeys([*(name for name in said if name in values), *values]):
        lines.append(f"--config.{name}={shlex.quote(str(values[name]))}")
        words = [said.get(name, "")]
        if name in allowed:
            words.append(f"One of: {', '.join(map(shlex.quote, allowed[name]))}")
        for text in words:
            lines += textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join(lines)


def explanations(config: ConfigDict) -> dict[str, str]:
    """What is said of each field, in the order of configs/default.py, the method's settings last.

    Raises:
        PromptError: there is no such method, or it is for other protocols or data.
    """
    own = of_settings(building.find_method(config).Settings)
    return comments() | {f"settings.{name}": text for name, text in own.items()}


def choices(config: ConfigDict) -> dict[str, Iterable[str]]:
    """What fields may hold, of those that a table decides about."""
    names = [] if protocols.by_captions(config) else list(methods.METHODS)
    if building.on_videos(config):
        names += [name for name in methods.ENCODERS if name not in names]
    return {"method": names, "data.name": datasets.TABLE, **building.CHOICES}


def comments() -> dict[str, str]:
    """The comments of configs/default.py by the fields that they explain.

    A field's are those in lines of their own above it, and the one behind it.
    """
    source = inspect.getsource(default)
    lines = iter(source.splitlines(keepends=True))
    alone: dict[int, str] = {}
    behind: dict[int, str] = {}
    for token in tokenize.generate_tokens(lambda: next(lines, "")):
        if token.type == tokenize.COMMENT:
            where = alone if token.line.lstrip().startswith("#") else behind
            where[token.start[0]] = token.string.lstrip("# ")
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
            continue
        first = node.lineno
        while first - 1 in alone:
            first -= 1
        words = [alone[line] for line in range(first, node.lineno)]
        words += filter(None, [behind.get(node.end_lineno or node.lineno)])
        if words:
            found[ast.unparse(node.targets[0]).partition(".")[2]] = " ".join(words)
    return found


def of_settings(settings: type) -> dict[str, str]:
    """What the docstrings of a method's `Settings` and of its bases say of its fields.

    One that refers to a base ("see `VideoSettings`") gives way to what the base says.
    """
    found: dict[str, str] = {}
    for owner in settings.__mro__:
        for name, text in _attributes(owner.__doc__ or ""):
            if name not in found or found[name].startswith("see `"):
                found[name] = text
    return found


def _attributes(docstring: str) -> Iterator[tuple[str, str]]:
    """Names and texts of a docstring's section Attributes; "a, b: …" is of both."""
    _, _, section = inspect.cleandoc(docstring).partition("Attributes:\n")
    for names, text in re.findall(r"^ {4}([\w, ]+): ((?:.|\n {8})+)", section, re.MULTILINE):
        for name in names.split(", "):
            yield name, " ".join(text.split())
