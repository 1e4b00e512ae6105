"""Reads images or videos ahead in threads, in batches of few sizes."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from prompt_jax.errors import BadImage
from prompt_jax.inputs.preparation import Inputs, prepare

# Each batch size compiles a program: smaller batches are padded to the next size.
SIZES = (1, 4, 16, 64)
BATCHES_AHEAD = 2

Request = TypeVar("Request")


class Batch(NamedTuple):
    """A batch of consecutive images.

    Attributes:
        images: float32[B, …], padded with zeros.
        places: int[n], n ≤ B, the indices of the first n rows among all images.
        errors: the error of each unreadable image by its index, which is not in `places`.
    """

    images: np.ndarray
    places: np.ndarray
    errors: dict[int, BadImage]


def sizes_for(batch_size: int, devices: int = 1) -> list[int]:
    """Returns the batch sizes up to `batch_size`, ascending multiples of the device count."""
    sizes = [size for size in SIZES if size < batch_size] + [batch_size]
    return sorted({-(-size // devices) * devices for size in sizes})


def in_batches(
    items: Sequence[Any],
    inputs: Inputs,
    sizes: Sequence[int],
    on_error: Callable[[BadImage], None] | None = None,
) -> Iterator[Batch]:
    """Yields all images in order, in batches of the largest size; the last one may be smaller.

    Args:
        items: images or videos, see `preparation`.
        inputs: how they are prepared.
        sizes: the allowed batch sizes, ascending.
        on_error: called for an unreadable file, which is then skipped; None raises the error.

    Raises:
        BadImage: a file cannot be read, and `on_error` is None.
        PromptError: an array has an invalid shape, dtype or range.
    """

    def begin(start: int) -> tuple[np.ndarray, list[Callable[[], None]]]:
        some = items[start : start + sizes[-1]]
        images = np.zeros((len(some), *inputs.shape), np.float32)
        pairs = zip(some, images, strict=True)
        return images, [functools.partial(prepare, item, inputs, out) for item, out in pairs]

    starts = range(0, len(items), sizes[-1])
    for start, images, jobs in read_ahead(starts, begin):
        yield _collect(start, images, jobs, sizes, on_error)


def read_ahead(
    requests: Iterable[Request],
    begin: Callable[[Request], tuple[np.ndarray, list[Callable[[], None]]]],
) -> Iterator[tuple[Request, np.ndarray, list[Future[None]]]]:
    """Yields each request, its array and the jobs that fill it, two requests ahead in threads.

    Args:
        requests: the requests, passed to `begin` in turn.
        begin: returns an array, and functions that each fill a part of it.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting: deque[tuple[Request, np.ndarray, list[Future[None]]]] = deque()
        try:
            for one in requests:
                array, parts = begin(one)
                waiting.append((one, array, [pool.submit(part) for part in parts]))
                if len(waiting) > BATCHES_AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _collect(start, images, jobs, sizes, on_error):
    errors = {}
    for number, job in enumerate(jobs):
        try:
            job.result()
        except BadImage as bad:
            if on_error is None:
                raise
            on_error(bad)
            errors[start + number] = bad
    read = np.array([n for n in range(len(jobs)) if start + n not in errors], np.int64)
    size = next(size for size in sizes if size >= max(len(read), 1))
    if errors or size != len(images):
        full = np.zeros((size, *images.shape[1:]), np.float32)
        full[: len(read)] = images[read]
        images = full
    return Batch(images, start + read, errors)
