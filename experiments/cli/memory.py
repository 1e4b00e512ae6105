"""Turns out-of-memory errors into an actionable message."""

import contextlib
import re
from collections.abc import Iterator

from experiments.config.config import Config
from prompt_jax.errors import PromptError

# XLA's messages on a CPU, and on a GPU or TPU.
_SHORT = re.compile(r"out of memory|RESOURCE_EXHAUSTED", re.IGNORECASE)
_BYTES = re.compile(r"allocat\w+ (\d+) ?bytes")


@contextlib.contextmanager
def telling(config: Config) -> Iterator[None]:
    """Turns an out-of-memory error into a PromptError that says which fields to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # XLA's own error is a RuntimeError
        if not isinstance(error, MemoryError) and not _SHORT.search(str(error)):
            raise
        asked = _BYTES.search(str(error))
        much = f" ({int(asked[1]) / 1e9:.1f} GB at once)" if asked else ""
        sizes = f"config.batch_size={config.batch_size}, eval_batch_size={config.eval_batch_size}"
        if config.data.on_videos:
            sizes += f", data.frames={config.data.frames}"
        raise PromptError(
            f"there is not enough memory for a step{much}; lower what makes it large: {sizes}"
        ) from error
