"""Runs the commands of experiments: user errors become one-line messages."""

import signal
from collections.abc import Sequence

from prompt_jax.cli import commands
from prompt_jax.cli.command_line import explain
from prompt_jax.cli.commands import USAGE_ERROR

__all__ = ["INTERRUPTED", "USAGE_ERROR", "explain", "prepare_jax", "run"]

INTERRUPTED = 128 + signal.SIGINT


def run(
    module: str, name: str, argv: Sequence[str], words: str = "stopped; run again to resume"
) -> int:
    """Runs a command, from before its imports to its exit code; see `commands.run`."""
    return commands.run(module, name, argv, words, explain)


def prepare_jax() -> None:
    """Turns on the cache of compiled programs, and checks that devices are available.

    Raises:
        PromptError: JAX_PLATFORMS names devices that this machine does not have.
    """
    # Imported late: --help and a wrong flag need no JAX.
    from prompt_jax.training import compiled
    from prompt_jax.training.sharding import find_devices

    compiled.keep()
    find_devices()
