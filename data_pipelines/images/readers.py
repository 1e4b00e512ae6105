"""Readers of images, and finding those, or videos, that cannot be read."""

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
    """`Dataset.read` for images that are files in one folder; `upright` as of `open_image`."""

    folder: Path
    upright: bool = False

    def __call__(self, example: Example) -> Image.Image:
        """The example's image as RGB; raises `BadImage`."""
        return open_image(self.folder / example.image, self.upright)

    def check(self, example: Example) -> None:
        """Look at its file without decoding it; raises `BadImage`."""
        check_image(self.folder / example.image)


class Store:
    """What was decoded, kept in memory up to a bound; thread-safe.

    Nothing is ever evicted: every epoch visits each image once, in a new order, and there
    keeping the first ones that fit gives more hits than any recency rule.
    """

    def __init__(self, max_bytes: int):
        """An empty one, for up to `max_bytes` bytes."""
        self.max_bytes = max_bytes
        self.bytes_used = 0
        self._kept: dict[Hashable, Any] = {}
        self._lock = Lock()

    def get(self, key: Hashable) -> Any:
        """What was kept under `key`, shared by all who ask (not to be changed), or None."""
        return self._kept.get(key)

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keep `value`, of `size` bytes, if there is room."""
        with self._lock:
            if self.bytes_used + size <= self.max_bytes and key not in self._kept:
                self._kept[key] = value
                self.bytes_used += size

    def keep_image(self, key: Hashable, image: Image.Image) -> None:
        """Keep an image, if there is room for its pixels."""
        self.keep(key, image, image.width * image.height * _BYTES_PER_PIXEL)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is kept and the lock: a worker process begins with an empty store."""
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In the worker process."""
        self.__init__(**state)  # type: ignore[misc]


class CachedReader:
    """`Dataset.read` that keeps decoded images in memory, up to a bound; thread-safe."""

    def __init__(self, read: Callable[[Example], Image.Image], max_bytes: int):
        """Cache what `read` returns, up to `max_bytes` bytes of pixels."""
        self.read = read
        self.store = Store(max_bytes)

    def __call__(self, example: Example) -> Image.Image:
        """The example's image as RGB (shared: not to be changed); raises `BadImage`."""
        image = self.store.get(example.image)
        if image is None:
            image = self.read(example)
            self.store.keep_image(example.image, image)
        return image


def missing_files(dataset: Dataset, examples: Iterable[Example]) -> list[str]:
    """The images, relative to the data set's folder, that are not there; in order, once each."""
    if dataset.folder is None:
        return []
    wanted = dict.fromkeys(example.image for example in examples)
    return [image for image in wanted if not os.path.exists(dataset.folder / image)]


def on_backslashes(images: Iterable[str]) -> str:
    """Returns what is wrong with missing files whose list was written on Windows, in a sentence; ""
    for others."""
    of_windows = [image for image in images if "\\" in image]
    if not of_windows:
        return ""
    return (
        f"{len(of_windows):,} of their paths have backslashes, as Windows writes them, e.g. "
        f"{escape(of_windows[0][:100])}; write / between folders"
    )


def check_files(dataset: Dataset, examples: Sequence[Example]) -> None:
    """Check, before a run starts, that the image files it will use exist.

    Args:
        dataset: where the images lie; one without a folder passes.
        examples: the examples that the run uses.

    Raises:
        DataError: some are missing; shows the first ten and how many there are.
    """
    missing = missing_files(dataset, examples)
    if missing:
        wanted = len({example.image for example in examples})
        shown = "".join(f"\n  {escape(image)}" for image in missing[:10])
        more = f"\n  … and {len(missing) - 10} more" if len(missing) > 10 else ""
        advice = on_backslashes(missing) or (
            "Complete the download, point root at the full data set, or leave them out with "
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
    """Look at every image or video once, in threads.

    Args:
        dataset: where they lie.
        examples: what to go through.
        advance: called after each one, for a progress bar.
        decode: whether they are decoded, by `decode` of `dataset.read` if it has one; without it
            only what its `check` sees is found, and nothing in images that are rendered.

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
    """Leave out the images that cannot be read (the setting `on_bad_image="skip"`).

    Args:
        dataset: where the images lie.
        examples: the examples to go through; every image is decoded once.

    Returns:
        The readable examples in order, and (path, reason) of each one left out.
    """
    bad = find_bad(dataset, examples)
    return leave_out(dataset, examples, {path for path, _ in bad}), bad


def leave_out(
    dataset: Dataset, examples: Sequence[Example], paths: Collection[str]
) -> tuple[Example, ...]:
    """The examples in order, without those at these paths, as `find_bad` names them."""
    if not paths:
        return tuple(examples)
    folder = dataset.folder
    return tuple(
        example
        for example in examples
        if str(folder / example.image if folder else example.image) not in paths
    )


def all_bad_error(dataset: Dataset, examples: Sequence[Example], first: BadImage) -> DataError:
    """The error that ends a run (`on_bad_image="stop"`): it lists every bad image, not just one.

    Args:
        dataset: where the images lie.
        examples: all examples of the run; they are decoded now, to find the rest.
        first: the failure that the run met.

    Returns:
        An error to raise `from first`.
    """
    bad = dict([(first.image, first.reason), *find_bad(dataset, examples)])
    return unreadable(dataset, examples, list(bad.items()))


def unreadable(
    dataset: Dataset, examples: Sequence[Example], bad: Sequence[tuple[str, str]]
) -> DataError:
    """The error that lists the images (path, reason) that `find_bad` found among `examples`."""
    listed = "".join(f"\n  {escape(path)}: {escape(reason)}" for path, reason in bad)
    gone = on_backslashes(path for path, _ in bad if not os.path.exists(path))
    return DataError(
        f"{dataset.name}: {len(bad)} of {len(examples)} {dataset.kind} cannot be read:{listed}\n"
        "Replace these files, or leave them out with --config.data.on_bad_image=skip."
        f"{' ' * bool(gone)}{gone}"
    )
