"""Features in two dimensions by t-SNE, and the share of nearest neighbors of the same class."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from data_pipelines.examples import Dataset
from prompt_jax.errors import PromptError, installing

PERPLEXITY = 30  # the usual value; less with few examples


def choose_classes(dataset: Dataset, number: int, most: int | None = None) -> Dataset:
    """Keeps the test examples of some classes, evenly spread over the class names.

    Args:
        dataset: a data set with classes.
        number: of classes.
        most: examples per class, the first ones; None: all.

    Raises:
        PromptError: `number` is below 2.
    """
    if number < 2:
        raise PromptError(f"--classes={number} must be at least 2")
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
    """Embeds features float[n, d] as float[n, 2] by t-SNE (van der Maaten and Hinton, JMLR 2008).

    Raises:
        PromptError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise PromptError(
            f"t-SNE needs scikit-learn, which cannot be imported ({error}); install it: "
            f"{installing('tsne')}"
        ) from None
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    # One thread: the order of sums, and so the figure, is deterministic.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)


def same_class_nearest(features: np.ndarray, labels: Sequence[int]) -> float:
    """Returns the percentage of features float[n, d] whose nearest neighbor has the same class."""
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    own = np.asarray(labels)
    return float(100 * np.mean(own[cosines.argmax(axis=1)] == own))
