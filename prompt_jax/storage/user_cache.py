"""Locates the user's cache directory, for what is computed once and can be computed again."""

import os
import pathlib


def find(name: str) -> pathlib.Path:
    """Returns the directory `name` in the cache of this package; makes it if it is missing.

    Raises:
        OSError: it cannot be made, or is not writable.
    """
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = cache / "prompt_jax" / name
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(0, "not writable", str(folder))
    return folder
