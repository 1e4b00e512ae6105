"""Draws few-shot examples, and splits the classes into base and new."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example

_MAX_VAL_SHOTS = 4


def few_shot(dataset: Dataset, shots: int, seed: int) -> Dataset:
    """Draws a few training and validation examples per class, as the published results do.

    Training: `shots` per class. Validation: min(shots, 4) per class, drawn after training from the
    same generator. A class with fewer examples keeps them all. Draw before splitting the classes
    into base and new: the draw of a class depends on the preceding classes.

    Args:
        dataset: the full data set.
        shots: training examples per class, 1 or more.
        seed: of the draw; the published results use 1, 2 and 3.

    Returns:
        The data set with the drawn `train` and `val`; `test` is unchanged.

    Raises:
        DataError: `shots` is below 1.

    Source: the CoOp benchmark's sampling (Zhou et al. 2022).
    """
    if shots < 1:
        raise DataError(f"shots={shots}: must be 1 or more training examples per class")
    generator = random.Random(seed)
    train = _draw(dataset.train, shots, generator)
    val = _draw(dataset.val, min(shots, _MAX_VAL_SHOTS), generator)
    return replace(dataset, train=train, val=val)


def _draw(examples: Sequence[Example], shots: int, generator: random.Random) -> tuple[Example, ...]:
    groups: dict[int, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.label, []).append(example)
    drawn: list[Example] = []
    for group in groups.values():
        drawn += generator.sample(group, shots) if len(group) >= shots else group
    return tuple(drawn)


def replace_bad(
    drawn: Sequence[Example],
    whole: Iterable[Example],
    is_bad: Callable[[Example], bool],
    seed: int,
) -> tuple[Example, ...]:
    """Replaces each drawn example that cannot be read by another one of its class.

    All other shots stay as drawn: a damaged image affects only its own shot.

    Args:
        drawn: shots of `few_shot`.
        whole: the examples they were drawn from, in order.
        is_bad: whether an example cannot be read; called only for drawn examples and candidates to
            replace them, because decoding a whole data set takes long.
        seed: of the draw; it also shuffles the rest of each class, whose first readable examples
            are the replacements.

    Returns:
        The shots in order; one is dropped if its class has no more examples.
    """
    taken = {(example.image, example.span) for example in drawn}
    rest: dict[tuple[int, str], list[Example]] = {}
    for example in whole:
        if (example.image, example.span) not in taken:
            rest.setdefault((example.label, example.name), []).append(example)
    for (label, _), group in rest.items():
        random.Random(f"{seed} {label}").shuffle(group)
    spares = {key: iter(group) for key, group in rest.items()}
    kept = []
    for example in drawn:
        found: Example | None = example
        while found is not None and is_bad(found):
            found = next(spares.get((example.label, example.name), iter(())), None)
        if found is not None:
            kept.append(found)
    return tuple(kept)


def base_and_new(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Splits the classes for base-to-novel: the first ceil(K/2) labels, and the rest from 0.

    Args:
        dataset: a data set of K >= 2 classes.

    Returns:
        The base half and the new half, each with all three splits filtered to its classes.

    Raises:
        DataError: there is only one class, or the labels are inconsistent.

    Source: ProMPT section 4, the CoOp benchmark's base-to-novel protocol.
    """
    count = len(dataset.class_names)
    if count < 2:
        raise DataError(f"{dataset.name}: base-to-novel needs at least 2 classes, found {count}")
    first_new = (count + 1) // 2
    base = _keep(dataset, lambda label: label < first_new, 0)
    new = _keep(dataset, lambda label: label >= first_new, first_new)
    return base, new


def _keep(dataset: Dataset, keep: Callable[[int], bool], first: int) -> Dataset:
    def kept(examples: Iterable[Example]) -> tuple[Example, ...]:
        return tuple(
            example._replace(label=example.label - first)
            for example in examples
            if keep(example.label)
        )

    return replace(
        dataset, train=kept(dataset.train), val=kept(dataset.val), test=kept(dataset.test)
    )
