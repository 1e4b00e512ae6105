"""Features in the plane: t-SNE, and what needs no drawing."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from data_pipelines.examples import Dataset
from prompt_jax.errors import PromptError, installing

PERPLEXITY = 30  # t-SNE's usual one, where there are examples enough


def choose_classes(dataset: Dataset, number: int, most: int | None = None) -> Dataset:
    """The test images or videos of so many classes, evenly spread over the names.

    Args:
        dataset: of classes.
        number: of classes.
        most: examples of each, the first ones; all where it is None.

    Raises:
        PromptError: `number` is below 2.
    """
    if number < 2:
        raise PromptError(f"--classes={number} must be at least 2, to be told apart")
    labels = sorted({example.label for example in dataset.test})
    places = np.linspace(0, len(labels) - 1, min(number, len(labels))).round().astype(int)
    chosen = {labels[place] for place in places}
    examples, taken = [], Counter[int]()
    for example in dataset.test:
        if example.label in chosen and taken[example.label] != most:
            taken[example.label] += 1
            examples.append(example)
    return dataclasses.replace(dataset, test=tuple(examples))


def embed(features: np.ndarray) -> np.ndarray:
    """Places float[n, 2] of features float[n, d] by t-SNE (van der Maaten and Hinton, JMLR 2008).

    Raises:
        PromptError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise PromptError(
            f"t-SNE is scikit-learn's, which cannot be imported ({error}); install it: "
            f"{installing('tsne')}"
        ) from None
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    # One thread: sums in one order, so one image; and others than idle cores slow several down.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)


def same_class_nearest(features: np.ndarray, labels: Sequence[int]) -> float:
    """Percent of features float[n, d] whose nearest other one, by cosine, is of the same class."""
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    own = np.asarray(labels)
    return float(100 * np.mean(own[cosines.argmax(axis=1)] == own))
