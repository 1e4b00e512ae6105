"""Caches compiled programs between processes, in JAX's persistent cache."""

import contextlib
import glob
import os
import pathlib
import re
import sys
import warnings

import jax

from prompt_jax.storage import user_cache

# JAX warns of each damaged program at every start: it compiles the program again, but does not
# replace the file.
_FAILURE = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '(.*?)': (.*)", re.DOTALL
)


def keep() -> None:
    """Caches compiled programs in the user's cache directory, unless JAX has a cache directory.

    If the directory is not writable, prints a note and caches nothing. If a program cannot be read
    or written, prints a note once and removes its file, so that JAX writes it again.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        try:
            folder = user_cache.find("xla")
        except OSError as error:
            _note(f"compiled programs are not cached: {error.filename}: {error.strerror}")
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        # By default, JAX skips programs that compile within a second; a run has about sixty.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
    _replace_warnings()


def _replace_warnings():
    """Handles warnings of JAX's cache; all other warnings are shown as before."""
    show, noted = warnings.showwarning, set()

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

    warnings.showwarning = show_or_handle
    warnings.filterwarnings("always", _FAILURE.pattern)


def _note(words: str) -> None:
    print(f"note: {words}", file=sys.stderr, flush=True)
