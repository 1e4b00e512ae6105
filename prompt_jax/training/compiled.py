"""Caches compiled programs between processes, in JAX's persistent cache.

Commands and `pj.load` do so, unless JAX_ENABLE_COMPILATION_CACHE=false.
"""

import contextlib
import glob
import os
import pathlib
import re
import sys
import warnings
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from prompt_jax.storage import user_cache

# JAX warns of each damaged program at every start: it compiles the program again, but does not
# replace the file.
_FAILURE = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '(.*?)': (.*)", re.DOTALL
)


def keep() -> None:
    """Caches compiled programs in the user's cache directory, unless JAX has a cache directory.

    Further calls change nothing.

    If the directory is not writable, prints a note and caches nothing. If a program cannot be read
    or written, prints a note once and removes its file, so that JAX writes it again.
    """
    if not getattr(jax.config, "jax_enable_compilation_cache", True):
        return
    if not _has_folder():
        try:
            folder = user_cache.find("xla")
        except OSError as error:
            _note(f"compiled programs are not cached: {error.filename}: {error.strerror}")
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # JAX looks for a directory once, when it compiles its first program.
        compilation_cache.reset_cache()
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        # By default, JAX skips programs that compile within a second; a run has about sixty.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
    _replace_warnings()


def _has_folder() -> bool:
    return bool(getattr(jax.config, "jax_compilation_cache_dir", None))


_handlers: list[Any] = []


def _replace_warnings():
    """Handles warnings of JAX's cache; all other warnings are shown as before."""
    show, noted = warnings.showwarning, set()
    if show in _handlers:
        return

    def show_or_handle(message, *arguments, **named):
        failure = _FAILURE.match(str(message))
        if failure is None:
            show(message, *arguments, **named)
            return
        action, program, reason = failure.groups()
        folder = pathlib.Path(getattr(jax.config, "jax_compilation_cache_dir", None) or "")
        with contextlib.suppress(OSError):
            for path in folder.glob(f"{glob.escape(program)}-*"):
                path.unlink()
        if action not in noted:
            noted.add(action)
            outcome = "compiled again" if action == "reading" else "not cached"
            _note(f"a compiled program in {folder} is {outcome}: {reason.splitlines()[0]}")

    _handlers.append(show_or_handle)
    warnings.showwarning = show_or_handle
    warnings.filterwarnings("always", _FAILURE.pattern)


def _note(words: str) -> None:
    print(f"note: {words}", file=sys.stderr, flush=True)
