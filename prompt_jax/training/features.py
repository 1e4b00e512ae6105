"""Computes image features once, and trains on them."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from prompt_jax.cli import progress
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.evaluation.programs import to_host
from prompt_jax.inputs.draws import PADDING_LABEL, steps_per_epoch
from prompt_jax.inputs.training_batches import feature_batches
from prompt_jax.methods import Method, Prompts, Task, find_encoder
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.selection import HeldOut
from prompt_jax.text import image_captions
from prompt_jax.text_features import encode_each
from prompt_jax.training import loop
from prompt_jax.training.sharding import Placement


class FeatureMaker:
    """A compiled frozen image tower for batches of images."""

    def __init__(self, method: Method, clip: CLIP, frozen: Frozen, placement: Placement):
        """Takes the method whose input is computed, the model, its parameters and the devices."""
        self._frozen, self._placement = frozen, placement
        self.encode = jax.jit(functools.partial(find_encoder(method), clip))

    def run(
        self, title: str, batches: Iterable[dict[str, np.ndarray]], total: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns features and labels of batches; see `encode_batches`."""
        encode = functools.partial(self.encode, self._frozen)
        return encode_batches(encode, self._placement, title, batches, total)


def encode_batches(
    encode: Callable[[jax.Array], jax.Array],
    placement: Placement,
    title: str,
    batches: Iterable[dict[str, np.ndarray]],
    total: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns features float32[N, …] and labels int32[N] of batches, without their padding.

    Args:
        encode: a compiled function of the images of a batch.
        placement: of batches on devices.
        title: title of the progress bar.
        batches: {"image", "label"}; rows with `PADDING_LABEL` are dropped.
        total: number of batches.
    """
    features, labels = [], []
    with progress.bar(title, total) as advance:
        for done, batch in enumerate(batches, 1):
            placed = placement.place(batch)
            features.append(np.asarray(to_host(encode(placed["image"])), np.float32))
            labels.append(to_host(placed["label"]))
            advance(done, "")
    kept = np.concatenate(labels)
    real = kept != PADDING_LABEL
    return np.concatenate(features)[real], kept[real]


def encode_captions(
    method: Method, task: Task, images: Callable[[], Sequence[str]]
) -> tuple[np.ndarray, ...]:
    """Returns the captions' features that `Adaptation.make` takes after the labels, if any.

    Args:
        method, task: the method, and its task with the captions.
        images: returns the path of each training image, "" if it has none.

    Returns:
        (float32[n, d],), normalized; () for a method that reads no captions.

    Raises:
        PromptError: an image has no caption, or a caption is too long.
    """
    if method.adaptation is None or not method.adaptation.captions:
        return ()
    assert task.texts is not None
    captions = image_captions.find(task.texts, images())
    return (np.asarray(encode_each(task.clip, task.frozen, captions, "captions")),)


def fit_features(
    method: Method,
    task: Task,
    recipe: Recipe,
    features: np.ndarray,
    labels: np.ndarray,
    *captions: np.ndarray,
    seed: int,
    placement: Placement,
    options: loop.Options,
    place: Callable[[Any], Any] | None = None,
) -> Prompts:
    """Returns prompts computed from and trained on cached features.

    Args:
        method, task: the method, and its task on the training classes.
        recipe: see `loop.fit`.
        features: float32[V, m, …], V views of m images.
        labels: int32[m].
        captions: see `encode_captions`.
        seed: seed of the initial prompts and the order of batches.
        placement, options, place: see `loop.fit`.
    """
    prompts = loop.init_prompts(method, task, seed)
    if method.adaptation:
        prompts = method.adaptation.make(prompts, task, features, labels, *captions)
    batches = feature_batches(features, labels, recipe.batch_size, seed)
    steps = steps_per_epoch(len(labels), recipe.batch_size)
    with contextlib.closing(batches):
        return loop.fit(
            method, task, recipe, prompts, batches, steps, placement, options, place
        ).prompts


def choose(
    name: str,
    method: Method,
    prompts: Prompts,
    task: Task,
    hold_out: Callable[[], Sequence[HeldOut]],
) -> tuple[Prompts, dict[str, Any]]:
    """Returns prompts with the settings that their method chooses, and the choice as JSON.

    Args:
        name: name of the method, for the message.
        method, task: the method, and its task on the training classes.
        prompts: trained prompts.
        hold_out: returns held-out data; called only if there is a setting to choose.
    """
    if method.adaptation is None or method.adaptation.choose(prompts, task, [])[1] is None:
        return prompts, {}
    prompts, choice = method.adaptation.choose(prompts, task, hold_out())
    assert choice is not None
    print(f"{name}: {choice}")
    return prompts, choice.as_json()
