"""Labels as people give them, numbers or names, as numbers."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from prompt_jax.errors import PromptError, shorten, unknown
from prompt_jax.text.class_names import check_names, key, repeated, told_by_labels


def number_labels(
    labels: Any, names: Sequence[str] | None, images: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels int32[P] from 0, and the K class names.

    Raises:
        PromptError: there are more or fewer labels than images, a label has no name, or there is
            only one class.
    """
    listed = labels.tolist() if hasattr(labels, "tolist") else labels
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise PromptError(f"labels={labels!r} must be a list, a label for each image")
    listed = [label.item() if isinstance(label, np.generic) else label for label in listed]
    if not images:
        raise PromptError("there are no images to train on")
    if len(listed) != images:
        raise PromptError(f"{len(listed)} labels for {images} images; give one for each")
    words = all(isinstance(label, str) for label in listed)
    if names is None and not words:
        raise PromptError("names is missing: labels are numbers, so give the K class names")
    known = sorted(set(listed)) if names is None else names
    check_names(known, may_repeat=not words)  # a label in words would not say which is meant
    known = tuple(known)
    if same := repeated(known):
        warnings.warn(told_by_labels(known, same), stacklevel=3)
    if words:
        places = {key(name): place for place, name in enumerate(known)}
        for label in listed:
            if key(label) not in places:
                raise unknown("label", label, known)
        listed = [places[key(label)] for label in listed]
    for label in listed:
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(known):
            raise PromptError(
                f"label {label!r} is none of the {len(known)} classes: give whole numbers from 0 "
                "to one less than there are, or names"
            )
    if len(set(listed)) < 2:
        raise PromptError(
            f"all {images} images are of one class; there is nothing to tell apart: give "
            "images of two classes or more"
        )
    there = set(listed)
    lacking = [name for label, name in enumerate(known) if label not in there]
    if lacking:
        text = (
            f"classes without images: {len(lacking)} of {len(known)}, e.g. {shorten(lacking[0])}; "
        )
        text += "nothing is learned of them, and they are predicted like the others"
        warnings.warn(text, stacklevel=3)
    return np.array(listed, np.int32), known
