"""Reads training images for `fit`, with the same draws as the loaders of experiments."""

import dataclasses
import functools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from prompt_jax.errors import PromptError
from prompt_jax.inputs import draws, preparation
from prompt_jax.inputs.augmenting import Augmentation, augment
from prompt_jax.inputs.batching import read_ahead
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.training_batches import Batch, Batches

_Request = tuple[np.ndarray, np.ndarray]  # rows, and the number of the random draw of each row


@dataclasses.dataclass(frozen=True)
class Shots:
    """Training images or videos with labels, and the options for reading them."""

    items: Sequence[Any]
    labels: np.ndarray
    inputs: Inputs
    augmentation: Augmentation
    seed: int

    def paths(self) -> list[str]:
        """Returns the path of each image, "" if it has none."""
        kinds = preparation.PATHS
        return [os.fspath(item) if isinstance(item, kinds) else "" for item in self.items]

    def batches(self, batch_size: int) -> Batches:
        """Returns endless training batches, with the same draws as the loaders of experiments."""
        number = len(self.items)
        part = slice(0, min(batch_size, number))
        rows_of = draws.shuffled_rows(number, batch_size, self.seed, part)

        def read(numbers: range) -> Generator[Batch]:
            def asked(number_of_batch: int) -> _Request:
                epoch, first, rows = rows_of(number_of_batch)
                return rows, epoch * number + first + np.arange(len(rows))

            yield from self._read(map(asked, numbers), draws.TRAINING, part.stop)

        return Batches(read)

    def views(self, views: int, size: int) -> Iterator[Batch]:
        """Returns augmented views of all images in order; the last batch of each view is padded."""
        number = len(self.items)
        starts = [range(start, min(start + size, number)) for start in range(0, number, size)]
        asked = (
            (np.array(rows), view * number + np.array(rows))
            for view in range(views)
            for rows in starts
        )
        return self._read(asked, draws.VIEWS, size)

    def plain(self, size: int) -> Iterator[Batch]:
        """Returns all images in order, not augmented; the last batch is padded."""
        number = len(self.items)
        starts = [range(start, min(start + size, number)) for start in range(0, number, size)]
        asked = ((np.array(rows), np.zeros(len(rows), int)) for rows in starts)
        whole = dataclasses.replace(self, augmentation=Augmentation(views=("center",)))
        for batch in whole._read(asked, draws.VIEWS, size):
            yield {**batch, "image": batch["image"][:, 0]}

    def _read(self, asked: Iterable[_Request], stream: int, size: int) -> Generator[Batch]:
        """Yields batches of `size` with the requested rows, augmented by their draws."""

        def ask(one: _Request) -> tuple[np.ndarray, list[Callable[[], None]]]:
            image = np.zeros((size, *self.augmentation.axes, *self.inputs.shape), np.float32)
            rngs = (draws.generator(self.seed, stream, int(draw)) for draw in one[1])
            jobs: list[Callable[[], None]] = [
                functools.partial(self._augment, int(row), rng, out)
                for row, rng, out in zip(one[0], rngs, image, strict=False)
            ]
            return image, jobs

        for (rows, _), image, jobs in read_ahead(asked, ask):
            for job in jobs:
                job.result()
            label = np.full(size, draws.PADDING_LABEL, np.int32)
            label[: len(rows)] = self.labels[rows]
            yield {"image": image, "label": label}

    def _augment(self, row: int, rng: np.random.Generator, out: np.ndarray) -> None:
        item = self.items[row]
        if preparation.is_float(item):
            _refuse_views(self.augmentation.views)
            out[...] = preparation.checked(item, self.inputs)
            return
        opened = (preparation.open_video if self.inputs.frames else preparation.decode)(
            item, self.inputs
        )
        augment(opened, self.inputs, self.augmentation, rng, out)


def _refuse_views(views: Sequence[str]) -> None:
    if views:
        raise PromptError(
            f"this method trains on {len(views)} views of each image ({', '.join(views)}), which "
            "are made before it is normalized; pass files, Pillow images or uint8 arrays"
        )
