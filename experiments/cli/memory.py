"""Turns out-of-memory errors into an actionable message."""

import contextlib
import re
from collections.abc import Iterator

from experiments.config.config import Config
from prompt_jax.errors import PromptError

# XLA's messages on a CPU, and on a GPU or TPU.
_OUT_OF_MEMORY = re.compile(r"out of memory|RESOURCE_EXHAUSTED", re.IGNORECASE)
_BYTES = re.compile(r"allocat\w+ (\d+) ?bytes")


@contextlib.contextmanager
def explain_out_of_memory(config: Config) -> Iterator[None]:
    """Turns an out-of-memory error into a PromptError that names the fields to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # XLA's own error is a RuntimeError
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        requested = _BYTES.search(str(error))
        amount = f" ({int(requested[1]) / 1e9:.1f} GB at once)" if requested else ""
        sizes = f"config.batch_size={config.batch_size}, eval_batch_size={config.eval_batch_size}"
        if config.data.on_videos:
            sizes += f", data.frames={config.data.frames}"
        raise PromptError(
            f"there is not enough memory for a step{amount}; lower one of {sizes}"
        ) from error
