"""What all commands share: mistakes become sentences, compiled programs are kept."""

import os
import pathlib
import sys

import jax

from data_pipelines.errors import DataError
from prompt_jax.errors import PromptError

USAGE_ERROR, INTERRUPTED = 2, 130


def use_compilation_cache() -> None:
    """Keeps compiled programs between processes, unless JAX was told where already."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(cache / "prompt_jax" / "xla"))


def explain(function, *args) -> int:
    """Calls `function`; a person's mistake becomes one line and exit code 2, not a traceback."""
    try:
        function(*args)
    except (PromptError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return INTERRUPTED
    return 0
