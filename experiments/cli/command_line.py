"""Runs the commands of experiments: user errors become one-line messages."""

import os
import pathlib
import signal
import sys
from collections.abc import Mapping

from prompt_jax.cli.commands import USAGE_ERROR, explain, make_parser, run
from prompt_jax.cli.interrupts import RESUMES

__all__ = ["INTERRUPTED", "RESUMES", "USAGE_ERROR", "explain", "make_parser", "prepare_jax", "run"]

INTERRUPTED = 128 + signal.SIGINT


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


def describe_next(commands: Mapping[str, str]) -> str:
    """Returns commands to run next, line by line.

    Args:
        commands: what each does, to its arguments of `python`.
    """
    inside = pathlib.Path(sys.executable).is_relative_to(pathlib.Path.cwd())
    python = os.path.relpath(sys.executable) if inside else "python"
    return "next:" + "".join(f"\n  {what}:\n    {python} {line}" for what, line in commands.items())
