"""Runs the library's commands: user errors become one-line messages."""

from collections.abc import Callable, Sequence
from typing import Any

from prompt_jax.cli import commands
from prompt_jax.errors import ArgumentError, DataError, PromptError

# Python arguments whose flags have other names.
_FLAGS = {"prepare": "--stats"}


def explain(function: Callable[..., Any], *args: Any) -> int:
    """Calls `function`; user errors become one-line messages and exit code 2."""
    return commands.explain(_with_flags, function, *args, mistakes=(PromptError, DataError))


def _with_flags(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except ArgumentError as error:
        raise error.as_flags(_FLAGS) from error


def run(module: str, name: str, argv: Sequence[str]) -> int:
    """Runs a command, from before its imports to its exit code; see `commands.run`."""
    return commands.run(module, name, argv, explained=explain)
