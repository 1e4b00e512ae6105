"""Keeps compiled programs between processes, in JAX's persistent cache."""

import contextlib
import glob
import os
import pathlib
import re
import sys
import warnings

import jax

# JAX's warning at each damaged program, at every start: it compiles the program again, but does not
# replace the file.
_FAILURE = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '(.*?)': (.*)", re.DOTALL
)


def keep() -> None:
    """Keeps compiled programs in the user's cache directory, unless JAX has one already.

    A directory that cannot be written to is reported, and nothing is kept. A program that cannot be
    read or written is reported once; its file is removed, so that JAX writes it again.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        folder = cache / "prompt_jax" / "xla"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(0, "it may not be written to")
        except OSError as error:
            _note(f"compiled programs are not kept: {folder}: {error.strerror}")
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        # A run compiles some sixty programs that take less than JAX's second each: seconds in all.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
    _replace_warnings()


def _replace_warnings():
    """Handles JAX's warnings of its cache; all others are shown as before."""
    show, said = warnings.showwarning, set()

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
        if action not in said:
            said.add(action)
            outcome = "compiled again" if action == "reading" else "not kept"
            _note(f"a compiled program in {folder} is {outcome}: {reason.splitlines()[0]}")

    warnings.showwarning = show_or_handle
    warnings.filterwarnings("always", _FAILURE.pattern)


def _note(words: str) -> None:
    print(f"note: {words}", file=sys.stderr, flush=True)
