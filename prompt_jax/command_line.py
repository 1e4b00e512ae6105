"""How the library's own commands run: mistakes of people become sentences."""

from collections.abc import Callable, Sequence
from typing import Any

from prompt_jax import commands
from prompt_jax.errors import DataError, PromptError


def explain(function: Callable[..., Any], *args: Any) -> int:
    """Calls `function`; a person's mistake becomes one line and exit code 2, not a traceback."""
    return commands.explain(function, *args, mistakes=(PromptError, DataError))


def run(module: str, name: str, argv: Sequence[str]) -> int:
    """Runs a command, from before its imports to its exit code; see `commands.run`."""
    return commands.run(module, name, argv, explained=explain)
