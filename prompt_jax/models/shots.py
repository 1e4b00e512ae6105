"""Reads training images for `fit`, with the same draws as the loaders of experiments."""

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from prompt_jax.errors import BadImage, PromptError, shorten
from prompt_jax.evaluation import confidence, programs
from prompt_jax.evaluation.confidence import Calibration
from prompt_jax.inputs import class_folders, contents, draws, finding, preparation
from prompt_jax.inputs.augmenting import Augmentation, augment
from prompt_jax.inputs.batching import OnError, check_on_error, in_batches, read_ahead
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.training_batches import Batch, Batches
from prompt_jax.methods import Method, Prompts, Task, selection
from prompt_jax.text.class_names import spaced
from prompt_jax.training.features import FeatureMaker, encode_batches
from prompt_jax.training.sharding import Placement

FEATURES_AT_ONCE = {"image": 100, "video": 16}  # as in experiments: rounding depends on it
AT_ONCE = 16  # images that are read to find broken ones
SHOWN = 5  # further files that an error names
_Request = tuple[np.ndarray, np.ndarray]  # rows, and the number of the random draw of each row


@dataclasses.dataclass(frozen=True)
class Shots:
    """Training images or videos with labels, and the options for reading them."""

    items: Sequence[Any]
    labels: np.ndarray
    inputs: Inputs
    augmentation: Augmentation
    seed: int

    def only(self, kept: np.ndarray) -> "Shots":
        """Returns those of the images that bool[n] keeps."""
        items = [self.items[place] for place in np.flatnonzero(kept).tolist()]
        return dataclasses.replace(self, items=items, labels=self.labels[kept])

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

    def refuse_unreadable(self) -> None:
        """Reads all files once, so that none ends the training later.

        Raises:
            BadImage: some cannot be read; it names them.
        """
        paths = [item for item in self.items if isinstance(item, preparation.PATHS)]
        found: list[BadImage] = []
        _find_unreadable(paths, self.inputs, found.append)
        if not found:
            return
        first, *others = found
        names = ", ".join(one.image for one in others[:SHOWN])
        more = ", …" if len(others) > SHOWN else ""
        also = f"; nor can {len(others):,} of the others: {names}{more}" if others else ""
        raise type(first)(first.image, f"{first.reason}{also}; on_error=print leaves them out")

    def features(self, method: Method, task: Task, views: int, placement: Placement) -> np.ndarray:
        """Returns frozen features of augmented views, float32[V, n, d], or [V, n, F, d] of frames.

        Args:
            method, task: the method whose input is computed, and its task.
            views: number of views V.
            placement: of batches on devices.
        """
        number = len(self.items)
        size = min(FEATURES_AT_ONCE[self.inputs.kind], number)
        total = views * -(-number // size)
        maker = FeatureMaker(method, task.clip, task.frozen, placement)
        rows, _ = maker.run(f"features of {views} views", self.views(views, size), total)
        return rows.reshape(views, number, *rows.shape[1:])

    def plain_features(self, method: Method, task: Task, placement: Placement) -> np.ndarray:
        """Returns frozen features of all images, not augmented, float32[n, …]; see `features`."""
        size = min(FEATURES_AT_ONCE[self.inputs.kind], len(self.items))
        maker = FeatureMaker(method, task.clip, task.frozen, placement)
        total = -(-len(self.items) // size)
        return maker.run("features of the images", self.plain(size), total)[0]

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


def calibrate(
    method: Method,
    task: Task,
    shots: Shots,
    train: Callable[[Shots], Prompts],
    placement: Placement,
    size: int,
) -> Calibration:
    """Returns the temperature of a method that is trained on images, by a second training.

    A part of the shots of each class, see `selection.assign_folds`, is held out of it.

    Args:
        method, task: the method, and its task on the training classes.
        shots: all images.
        train: trains prompts on a part of them.
        placement: of batches on devices.
        size: held-out images at once.
    """
    out = selection.assign_folds(shots.labels) == 0
    if not out.any():
        return confidence.NOTHING_HELD_OUT
    prompts, held = train(shots.only(~out)), shots.only(out)
    prepared = programs.compiled(method.prepare)(prompts, task)
    score = functools.partial(programs.logits(method), prompts, prepared, task)
    size = min(size, len(held.items))
    total = -(-len(held.items) // size)
    title = "logits of held-out shots"
    logits, labels = encode_batches(score, placement, title, held.plain(size), total)
    by = f"{len(labels)} shots that a second training did not see"
    return confidence.choose_temperature(logits[:, -1], labels, by)


def read_folder(
    folder: str, inputs: Inputs, with_labels: bool
) -> tuple[list[str], list[str] | None]:
    """Returns the images or videos below a directory; with labels, those of its directories.

    Labels are the directories' names with spaces for "_", as in experiments.

    Raises:
        PromptError: see `class_folders.read`; or two directories name the same class.
    """
    if not with_labels:
        return list(finding.find(folder, inputs.frames > 0, [])), None
    paths, labels, notes = class_folders.read(folder, inputs.frames > 0)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    directories: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        other = directories.setdefault(spaced(label), label)
        if other != label:
            raise PromptError(
                f"{folder}: {shorten(other)} and {shorten(label)} name the same class; rename or "
                "join them"
            )
    return paths, list(map(spaced, labels))


def read_all(
    given: Any, labels: Any, inputs: Inputs, on_error: OnError | None = None
) -> tuple[list[Any], Any]:
    """Returns images or videos as a list, and their labels; addresses are downloaded once.

    Args:
        given: see `preparation.as_items`.
        labels: one per image, or None.
        inputs: how they are prepared.
        on_error: called with the error of each one that cannot be read, which is left out with its
            label. None leaves files to `Shots.refuse_unreadable`.

    Raises:
        BadImage: an address or open file cannot be read, and `on_error` is None.
        PromptError: `on_error` is neither a function nor None; see `preparation.as_items`.
    """
    check_on_error(on_error)
    if labels is None and isinstance(given, preparation.PATHS) and not os.path.exists(given):
        raise PromptError(f"{os.fspath(given)}: no such file or directory")
    items = preparation.as_items(given, inputs, keep=on_error is not None)
    for number, item in enumerate(items):
        if isinstance(item, contents.URL):
            try:
                items[number] = contents.load(item)
            except BadImage as bad:
                if on_error is None:
                    raise
                items[number] = bad
    if on_error is None:
        return items, labels
    broken = _find_unreadable(items, inputs, on_error)
    kept = [number for number in range(len(items)) if number not in broken]
    # `number_labels` reports another number of labels.
    if labels is not None and hasattr(labels, "__len__") and len(labels) == len(items):
        labels = [one for number, one in enumerate(labels) if number not in broken]
    return [items[number] for number in kept], labels


def _find_unreadable(items: Sequence[Any], inputs: Inputs, on_error: OnError) -> set[int]:
    """Returns the numbers of the images or videos that cannot be read, and reports them."""
    sizes = [AT_ONCE] * -(-len(items) // AT_ONCE)
    broken: set[int] = set()
    for batch in in_batches(items, inputs, sizes, on_error):
        broken |= batch.errors.keys()
    return broken


def _refuse_views(views: Sequence[str]) -> None:
    if views:
        raise PromptError(
            f"this method trains on {len(views)} views of each image ({', '.join(views)}), which "
            "are made before it is normalized; pass files, Pillow images or uint8 arrays"
        )
