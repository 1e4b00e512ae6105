"""Reads images or videos ahead in threads, in batches of few sizes."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from prompt_jax.errors import BadImage, BadVideo, DataError, PromptError
from prompt_jax.inputs.preparation import Inputs, name_of, prepare

# Each batch size compiles a program, so there are few.
SIZES = (1, 4, 16, 64)
# The cost of a batch on a CPU beside that of its images, in images. Three are cheaper than four.
COST_OF_BATCH = 0.25
BATCHES_AHEAD = 2

OnError = Callable[[BadImage], None]

Request = TypeVar("Request")


def check_on_error(on_error: Any) -> None:
    """Raises PromptError if `on_error` is neither a function nor None."""
    if on_error is not None and not callable(on_error):
        raise PromptError(f"on_error={on_error!r} must be a function or None")


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


def split(number: int, sizes: Sequence[int], cheapest: bool = True) -> list[int]:
    """Splits images into batches of the given sizes; the last ones may be padded.

    Args:
        number: images.
        sizes: the allowed sizes, ascending.
        cheapest: whether to compute as few rows as possible, 17 = 16 + 1, which suits a CPU; False:
            all batches have one size, that is one program, which suits an accelerator.

    Returns:
        The sizes of the batches, the largest first.
    """
    largest = sizes[-1]
    if not cheapest:
        size = next((size for size in sizes if size >= number), largest)
        return [size] * -(-number // size)
    whole, rest = divmod(number, largest)
    # The cheapest batches for each number of images up to the rest: cost and sizes.
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for images in range(1, rest + 1):
        found = ((best[max(images - size, 0)][0] + size + COST_OF_BATCH, size) for size in sizes)
        cost, size = min(found)
        best.append((cost, [*best[max(images - size, 0)][1], size]))
    return [largest] * whole + sorted(best[rest][1], reverse=True)


def in_batches(
    items: Sequence[Any], inputs: Inputs, sizes: Sequence[int], on_error: OnError | None = None
) -> Iterator[Batch]:
    """Yields all images in order, in batches.

    Args:
        items: images or videos, see `preparation`.
        inputs: how they are prepared.
        sizes: the sizes of the batches, see `split`. A batch with unreadable images may have a
            smaller one of them.
        on_error: called for each image or video that cannot be read, whatever the reason, which is
            then skipped; None raises the error.

    Raises:
        BadImage: a file cannot be read, and `on_error` is None.
        PromptError: an array has an invalid shape, dtype or range, and `on_error` is None.
    """
    ends = np.cumsum(sizes).tolist()
    requests = [(end - size, size) for end, size in zip(ends, sizes, strict=True)]

    def begin(request: tuple[int, int]) -> tuple[np.ndarray, list[Callable[[], None]]]:
        some = items[request[0] : sum(request)]
        images = np.zeros((request[1], *inputs.shape), np.float32)
        pairs = zip(some, images, strict=False)
        return images, [functools.partial(prepare, item, inputs, out) for item, out in pairs]

    for (start, _), images, jobs in read_ahead(requests, begin):
        yield _collect(items, inputs, start, images, jobs, sizes, on_error)


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


def _collect(
    items: Sequence[Any],
    inputs: Inputs,
    start: int,
    images: np.ndarray,
    jobs: Sequence[Future[None]],
    sizes: Sequence[int],
    on_error: OnError | None,
) -> Batch:
    errors: dict[int, BadImage] = {}
    for number, job in enumerate(jobs, start):
        if error := job.exception():
            if not isinstance(error, Exception):  # Ctrl-C
                raise error
            bad = as_bad(error, items[number], number, inputs)
            if on_error is None:
                raise _naming(error, bad, len(items))
            on_error(bad)
            errors[number] = bad
    read = np.array([n for n in range(len(jobs)) if start + n not in errors], np.int64)
    if errors:
        size = min((size for size in sizes if size >= len(read)), default=len(images))
        full = np.zeros((size, *images.shape[1:]), np.float32)
        full[: len(read)] = images[read]
        images = full
    return Batch(images, start + read, errors)


def as_bad(error: Exception, item: Any, number: int, inputs: Inputs) -> BadImage:
    """Returns the error of an item as that of an unreadable image or video.

    Args:
        error: whatever was raised: Pillow's and FFmpeg's decoders may raise anything.
        item, number: the item and its number.
        inputs: whether it is an image or a video.
    """
    if isinstance(error, BadImage):
        return error
    words = str(error) if isinstance(error, PromptError | DataError) else _reason(error)
    return (BadVideo if inputs.frames else BadImage)(name_of(item, number), words)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    return str(error) or type(error).__name__


def _naming(error: Exception, bad: BadImage, number: int) -> Exception:
    """Returns the error to raise: a `PromptError` on an array with its number, if of several."""
    if isinstance(error, PromptError):
        return PromptError(f"{bad.image}: {error}") if number > 1 else error
    return error if isinstance(error, DataError) else bad
