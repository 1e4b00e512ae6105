"""Images or videos read ahead in threads, as batches of few sizes."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from prompt_jax.errors import BadImage
from prompt_jax.inputs.given import Inputs, prepare

# A program is compiled for each size that comes up: of fewer images the next one is filled up.
SIZES = (1, 4, 16, 64)
BATCHES_AHEAD = 2

Asked = TypeVar("Asked")


class Batch(NamedTuple):
    """Some of the images, in their order.

    Attributes:
        images: float32[B, …], zeros where there is no image to show.
        places: int[n], n ≤ B, which images the first n are, from 0.
        errors: what could not be read, by its place; it is not among `places`.
    """

    images: np.ndarray
    places: np.ndarray
    errors: dict[int, BadImage]


def sizes_for(batch_size: int, devices: int = 1) -> list[int]:
    """The sizes of batches up to `batch_size`, multiples of the number of devices, ascending."""
    sizes = [size for size in SIZES if size < batch_size] + [batch_size]
    return sorted({-(-size // devices) * devices for size in sizes})


def in_batches(
    items: Sequence[Any],
    inputs: Inputs,
    sizes: Sequence[int],
    on_error: Callable[[BadImage], None] | None = None,
) -> Iterator[Batch]:
    """All images in order, in batches of the largest size and, at the end, the one that fits.

    Args:
        items: images or videos, see `given`.
        inputs: how they are prepared.
        sizes: of batches, ascending.
        on_error: is told of a file that cannot be read, which is then left out; None lets that
            error end it all.

    Raises:
        BadImage: a file cannot be read, and `on_error` is None.
        PromptError: an array has a shape, type or range that none has.
    """

    def ask(start: int) -> tuple[np.ndarray, list[Callable[[], None]]]:
        some = items[start : start + sizes[-1]]
        images = np.zeros((len(some), *inputs.shape), np.float32)
        pairs = zip(some, images, strict=True)
        return images, [functools.partial(prepare, item, inputs, out) for item, out in pairs]

    starts = range(0, len(items), sizes[-1])
    for start, images, jobs in read_ahead(starts, ask):
        yield _collect(start, images, jobs, sizes, on_error)


def read_ahead(
    asked: Iterable[Asked], ask: Callable[[Asked], tuple[np.ndarray, list[Callable[[], None]]]]
) -> Iterator[tuple[Asked, np.ndarray, list[Future[None]]]]:
    """What was asked for, its array, and the jobs that fill it: two are at work ahead, in threads.

    Args:
        asked: what `ask` is called with, in turn.
        ask: gives an array, and functions that each fill a part of it.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting: deque[tuple[Asked, np.ndarray, list[Future[None]]]] = deque()
        try:
            for one in asked:
                array, parts = ask(one)
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
