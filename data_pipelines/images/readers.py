"""Reads images, and finds images and videos that cannot be read."""

import os
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from data_pipelines.errors import BadImage, DataError, escape
from data_pipelines.examples import Dataset, Example
from prompt_jax.inputs.images.decoding import check_image, open_image

# Pillow keeps an RGB image as four bytes per pixel.
_BYTES_PER_PIXEL = 4
_SCAN_THREADS = 4


@dataclass(frozen=True)
class FolderReader:
    """Reads image files of one directory (`Dataset.read`); for `upright` see `open_image`."""

    folder: Path
    upright: bool = False

    def __call__(self, example: Example) -> Image.Image:
        """Returns the example's image in RGB; raises `BadImage`."""
        return open_image(self.folder / example.image, self.upright)

    def check(self, example: Example) -> None:
        """Checks the example's file without decoding it; raises `BadImage`."""
        check_image(self.folder / example.image)


class Store:
    """Keeps decoded images in memory up to a limit; thread-safe.

    Nothing is evicted: every epoch visits each image once in a new order, for which keeping the
    first ones that fit gives more hits than any recency rule.
    """

    def __init__(self, max_bytes: int):
        """Creates an empty store for up to `max_bytes` bytes."""
        self.max_bytes = max_bytes
        self.bytes_used = 0
        self._kept: dict[Hashable, Any] = {}
        self._lock = Lock()

    def get(self, key: Hashable) -> Any:
        """Returns the value of `key`, shared by all callers (do not modify), or None."""
        return self._kept.get(key)

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keeps `value`, of `size` bytes, if there is room."""
        with self._lock:
            if self.bytes_used + size <= self.max_bytes and key not in self._kept:
                self._kept[key] = value
                self.bytes_used += size

    def keep_image(self, key: Hashable, image: Image.Image) -> None:
        """Keeps an image if there is room for its pixels."""
        self.keep(key, image, image.width * image.height * _BYTES_PER_PIXEL)

    def __getstate__(self) -> dict[str, Any]:
        """Returns the limit only: a worker process starts with an empty store."""
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Creates the empty store of a worker process."""
        self.__init__(**state)  # type: ignore[misc]


class CachedReader:
    """Keeps decoded images in memory up to a limit (`Dataset.read`); thread-safe."""

    def __init__(self, read: Callable[[Example], Image.Image], max_bytes: int):
        """Caches the images of `read`, up to `max_bytes` bytes of pixels."""
        self.read = read
        self.store = Store(max_bytes)

    def __call__(self, example: Example) -> Image.Image:
        """Returns the example's image in RGB (shared: do not modify); raises `BadImage`."""
        image = self.store.get(example.image)
        if image is None:
            image = self.read(example)
            self.store.keep_image(example.image, image)
        return image


def missing_files(dataset: Dataset, examples: Iterable[Example]) -> list[str]:
    """Returns the images without a file, relative to the data set's directory, in order."""
    if dataset.folder is None:
        return []
    wanted = dict.fromkeys(example.image for example in examples)
    return [image for image in wanted if not os.path.exists(dataset.folder / image)]


def backslash_advice(images: Iterable[str]) -> str:
    """Returns advice on missing files whose list was written on Windows; "" for others."""
    of_windows = [image for image in images if "\\" in image]
    if not of_windows:
        return ""
    return (
        f"{len(of_windows):,} of their paths contain backslashes, as on Windows, e.g. "
        f"{escape(of_windows[0][:100])}; use / between directories"
    )


def check_files(dataset: Dataset, examples: Sequence[Example]) -> None:
    """Checks that the files of a run exist before it starts.

    Args:
        dataset: the data set of the examples; one without a directory passes.
        examples: the examples of the run.

    Raises:
        DataError: some are missing; lists the first ten and their number.
    """
    missing = missing_files(dataset, examples)
    if missing:
        wanted = len({example.image for example in examples})
        shown = "".join(f"\n  {escape(image)}" for image in missing[:10])
        more = f"\n  … and {len(missing) - 10} more" if len(missing) > 10 else ""
        advice = backslash_advice(missing) or (
            "Complete the download, set root to the full data set, or skip them with "
            "--config.data.on_bad_image=skip"
        )
        raise DataError(
            f"{dataset.name}: {len(missing)} of {wanted} {dataset.kind} are missing in "
            f"{dataset.folder}:{shown}{more}\n{advice}."
        )


def find_bad(
    dataset: Dataset,
    examples: Iterable[Example],
    advance: Callable[[], object] | None = None,
    decode: bool = True,
) -> list[tuple[str, str]]:
    """Finds images or videos that cannot be read, in threads.

    Args:
        dataset: reads them.
        examples: the examples to check; each file once.
        advance: called after each one, for a progress bar.
        decode: whether to decode them fully; otherwise only headers are checked, with the `check`
            of `dataset.read`, and rendered images are not.

    Returns:
        (path, reason) of those that cannot be read, in order.
    """
    read = dataset.read
    look = getattr(read, "decode", read) if decode else getattr(read, "check", None)
    if look is None:
        return []

    def problem(example: Example) -> tuple[str, str] | None:
        try:
            look(example)
        except BadImage as bad:
            return bad.image, bad.reason
        finally:
            if advance is not None:
                advance()
        return None

    unique = {(example.image, example.span): example for example in examples}
    with ThreadPoolExecutor(_SCAN_THREADS) as threads:
        return [found for found in threads.map(problem, unique.values()) if found is not None]


def drop_bad(
    dataset: Dataset, examples: Sequence[Example]
) -> tuple[tuple[Example, ...], list[tuple[str, str]]]:
    """Drops the examples that cannot be read (`on_bad_image="skip"`).

    Args:
        dataset: reads the images.
        examples: the examples; every image is decoded once.

    Returns:
        The readable examples in order, and (path, reason) of each dropped one.
    """
    bad = find_bad(dataset, examples)
    return exclude(dataset, examples, {path for path, _ in bad}), bad


def exclude(
    dataset: Dataset, examples: Sequence[Example], paths: Collection[str]
) -> tuple[Example, ...]:
    """Returns the examples in order, without those at `paths` (as of `find_bad`)."""
    if not paths:
        return tuple(examples)
    folder = dataset.folder
    return tuple(
        example
        for example in examples
        if str(folder / example.image if folder else example.image) not in paths
    )


def all_bad_error(dataset: Dataset, examples: Sequence[Example], first: BadImage) -> DataError:
    """Returns the error that stops a run (`on_bad_image="stop"`) and lists every bad image.

    Args:
        dataset: reads the images.
        examples: all examples of the run; they are decoded now to find the others.
        first: the first failure, to raise the error from.
    """
    bad = dict([(first.image, first.reason), *find_bad(dataset, examples)])
    return unreadable(dataset, examples, list(bad.items()))


def unreadable(
    dataset: Dataset, examples: Sequence[Example], bad: Sequence[tuple[str, str]]
) -> DataError:
    """Returns the error for images (path, reason) of `find_bad` among `examples`."""
    listed = "".join(f"\n  {escape(path)}: {escape(reason)}" for path, reason in bad)
    gone = backslash_advice(path for path, _ in bad if not os.path.exists(path))
    return DataError(
        f"{dataset.name}: {len(bad)} of {len(examples)} {dataset.kind} cannot be read:{listed}\n"
        "Replace these files, or skip them with --config.data.on_bad_image=skip."
        f"{' ' * bool(gone)}{gone}"
    )
