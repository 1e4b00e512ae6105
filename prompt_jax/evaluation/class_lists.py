"""Tasks of lists of classes to choose from; other lists need no other program.

A list is filled up to one of few numbers of classes, and its tokens to few lengths, so that the
programs of an earlier list fit. The classes that fill it up are masked, see `Method.spare_from`.
"""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen, normalize
from prompt_jax.evaluation.programs import compiled
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.prompts import encode_templates
from prompt_jax.text.class_texts import Texts

SPARE = "a"
"""The name of a class that fills up a list: one token."""


KEPT = 4
_LOCK = threading.Lock()


def keep(kept: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """Returns the value of a key, made if it is missing; keeps the last `KEPT`. Safe in threads."""
    if (found := kept.get(key)) is not None:  # without waiting for a list that is being made
        return found
    with _LOCK:
        if key not in kept:
            value = make()
            while len(kept) >= KEPT:
                kept.pop(next(iter(kept)))
            kept[key] = value
        return kept[key]


def fill_up(number: int) -> int:
    """Returns the least of 4, 6, 8, 12, 16, 24, … that is at least `number`."""
    size = 4
    while size < number:
        # From 2^n to 1.5 · 2^n, and from there to 2^(n + 1).
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def make(
    method: Method,
    prompts: Prompts,
    clip: CLIP,
    frozen: Frozen,
    settings: Any,
    template: str,
    names: Sequence[str],
    trained: Sequence[str],
    texts: Texts | None = None,
    templates: Sequence[str] = (),
    may_fill: bool = True,
) -> tuple[Task, Any]:
    """Returns a task and what its method prepares, of at least these classes.

    Args:
        method, prompts, clip, frozen, settings, template, texts: see `methods.make_task`.
        names: K classes.
        trained: the classes that the prompts were trained on.
        templates: texts that zero-shot CLIP averages over, if several.
        may_fill: whether the list may be filled up: then the logits have further columns, which
            the caller drops.

    Raises:
        PromptError: see `methods.make_task`.
    """
    index, spare = list(methods.index_trained(trained, names)), 0
    least = method.spare_from(settings)
    if may_fill and least and len(names) >= max(2, least):
        spare = fill_up(len(names)) - len(names)
        clip = dataclasses.replace(clip, few_lengths=True)
    listed = [*names, *[SPARE] * spare]
    index += [methods.UNSEEN] * spare
    made = method, clip, frozen, listed, settings, template
    task = methods.make_task(*made, index, texts)
    if templates:
        features = encode_templates(clip, frozen, templates, listed)
        task = dataclasses.replace(task, constants=normalize(features))
    if clip.few_lengths:
        task = dataclasses.replace(task, real=jnp.asarray(np.arange(len(listed)) < len(names)))
    return task, compiled(method.prepare)(prompts, task)
