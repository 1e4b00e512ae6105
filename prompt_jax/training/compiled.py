"""Compiled programs that are kept between processes: a damaged one is made anew, none is a must."""

import contextlib
import glob
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax


def keep() -> None:
    """Keeps compiled programs in a folder of the user's cache, unless JAX was told where already.

    A folder that cannot be written to is said, and none are kept.
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
    _mend_cache()


class Programs:
    """A folder of compiled programs as JAX keeps it, whose faults are mended or said once.

    JAX itself warns of a damaged program at every start, and never replaces it.
    """

    def __init__(self, cache: Any, folder: str, decompress: Callable[[bytes], bytes]):
        """JAX's cache of that folder; `decompress` raises for what is not whole."""
        self._cache = cache
        self._folder = pathlib.Path(folder)
        self._decompress = decompress
        self._said: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def get(self, key: str) -> bytes | None:
        """The program of that key; None where there is none that is whole."""
        try:
            program = self._cache.get(key)
        except OSError as error:
            self._say(f"compiled programs in {self._folder} cannot be read: {error.strerror}")
            return None
        if program is None:
            return None
        try:
            self._decompress(program)
        except Exception:  # whatever the compression in use raises
            self._say(f"a damaged compiled program in {self._folder} is made anew")
            self._remove(key)
            return None
        return program

    def put(self, key: str, program: bytes) -> None:
        """Keeps a program, if it can be written."""
        try:
            self._cache.put(key, program)
        except OSError as error:
            self._say(f"compiled programs are not kept: {self._folder}: {error.strerror}")
            self._remove(key)  # a disk that is full has taken a part of it

    def _remove(self, key):
        with contextlib.suppress(OSError):
            for path in self._folder.glob(glob.escape(key) + "*"):
                path.unlink()

    def _say(self, words):
        if words not in self._said:
            self._said.add(words)
            _note(words)


def _mend_cache():
    """Puts `Programs` around JAX's cache. JAX has no public way: of another make, it stays so."""
    try:
        from jax._src import compilation_cache

        open_cache = compilation_cache.get_file_cache
        decompress = compilation_cache.decompress_executable
    except (ImportError, AttributeError):
        return

    def get_file_cache(path: str) -> Any:
        opened = open_cache(path)
        if opened is None or isinstance(opened[0], Programs) or "://" in path:
            return opened
        return Programs(opened[0], path, decompress), path

    compilation_cache.get_file_cache = get_file_cache


def _note(words: str) -> None:
    print(f"note: {words}", file=sys.stderr, flush=True)
