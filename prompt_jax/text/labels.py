"""Converts the user's labels, numbers or class names, to numbers."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from prompt_jax.errors import PromptError, shorten, unknown
from prompt_jax.text.class_names import check_names, describe_repeated, key, repeated


def number_labels(
    labels: Any, names: Sequence[str] | None, images: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns labels int32[P] from 0 and the K class names.

    Raises:
        PromptError: the numbers of labels and images differ, a label has no name, or there is only
            one class.
    """
    listed = labels.tolist() if hasattr(labels, "tolist") else labels
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise PromptError(f"labels={labels!r} must be a list with one label per image")
    listed = [label.item() if isinstance(label, np.generic) else label for label in listed]
    if not images:
        raise PromptError("there are no images to train on")
    if len(listed) != images:
        raise PromptError(f"{len(listed)} labels for {images} images; pass one label per image")
    words = all(isinstance(label, str) for label in listed)
    if names is None and not words:
        raise PromptError("names is missing: labels are numbers, so pass the K class names")
    known = sorted(set(listed)) if names is None else names
    check_names(known, may_repeat=not words)  # a repeated name would be an ambiguous label
    known = tuple(known)
    if same := repeated(known):
        warnings.warn(describe_repeated(known, same), stacklevel=3)
    if words:
        places = {key(name): place for place, name in enumerate(known)}
        for label in listed:
            if key(label) not in places:
                raise unknown("label", label, known)
        listed = [places[key(label)] for label in listed]
    for label in listed:
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(known):
            raise PromptError(
                f"label {label!r} is not one of the {len(known)} classes: pass class names, or "
                f"integers from 0 to {len(known) - 1}"
            )
    if len(set(listed)) < 2:
        raise PromptError(
            f"all {images} images are of one class, so there is nothing to learn: pass images of "
            "at least two classes"
        )
    used = set(listed)
    if unused := [name for label, name in enumerate(known) if label not in used]:
        warnings.warn(
            f"classes without images: {len(unused)} of {len(known)}, e.g. {shorten(unused[0])}; "
            "they can be predicted but are not trained on",
            stacklevel=3,
        )
    return np.array(listed, np.int32), known
