"""Labels training images by a method that does not read their labels, with a second backbone."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.clip import CLIP
from prompt_jax.clip import loading as clip_loading
from prompt_jax.errors import PromptError, shorten
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.methods import Method, Task
from prompt_jax.methods.recipe import Labels
from prompt_jax.training.features import encode_batches
from prompt_jax.training.sharding import Placement
from prompt_jax.vit import ViT
from prompt_jax.vit import loading as vit_loading

EMBEDDED = "embedded"
"""The source of the stand-in for a second backbone: the embedded CLIP's image tower."""

SOURCES = (
    'DINO\'s weight file, the directory or hub id of a ViT, or "embedded", the image tower of the '
    "embedded CLIP as a stand-in"
)
_SHOWN = 10


class Second(NamedTuple):
    """A second backbone, whose features of training images help to label them.

    Attributes:
        tower: without its parameters.
        frozen: its parameters.
        fingerprint: short hash of sizes and parameters.
        notes: what no file states, in words for the user.
    """

    tower: ViT | CLIP
    frozen: Any
    fingerprint: str
    notes: tuple[str, ...]


def read_second(source: str | os.PathLike, clip: CLIP) -> Second:
    """Loads a second backbone; it is computed like `clip`: in its type and precision.

    Args:
        source: as `SOURCES` says.
        clip: the backbone.

    Raises:
        PromptError: it cannot be read, or takes images of another size than the backbone.
    """
    computed = {name: getattr(clip, name) for name in ("dtype", "precision", "scan_layers")}
    tower: ViT | CLIP
    if source == EMBEDDED:
        sizes, frozen = clip_loading.load(EMBEDDED)
        tower, size = CLIP(sizes, **computed), sizes.image_size
        fingerprint = clip_loading.fingerprint(sizes, frozen)
        notes: tuple[str, ...] = (
            "second backbone: the embedded CLIP's image tower, a stand-in for DINO's",
        )
    else:
        config, frozen, normalization, notes = vit_loading.read(os.fspath(source))
        tower = ViT(config, wanted=normalization, **computed)
        size, fingerprint = config.image_size, clip_loading.fingerprint(config, frozen)
        notes = tuple(f"second backbone: {note}" for note in notes)
    if size != clip.config.image_size:
        raise PromptError(
            f"{source} takes images of {size} x {size} pixels, and the "
            f"backbone {clip.config.image_size} x {clip.config.image_size}; both must be equal. It "
            f"may be {SOURCES}"
        )
    arranged = dataclasses.replace(clip, mesh=None).arrange(frozen)
    return Second(tower, jax.tree.map(jnp.asarray, arranged), fingerprint, notes)


def label_images(
    method: Method,
    task: Task,
    second: Second,
    batches: Iterable[dict[str, np.ndarray]],
    total: int,
    inputs: Inputs,
    seed: int,
    placement: Placement,
) -> Labels:
    """Returns the labels that a method gives to training images.

    Args:
        method, task: the method, and its task on the training classes.
        second: the second backbone.
        batches: all images in order, not augmented; "label" only marks padding.
        total: number of batches.
        inputs: the normalization of the images.
        seed: of all that is drawn.
        placement: of arrays on devices.
    """
    assert method.labeling is not None
    encode = make_encoder(method, task, second.tower, inputs)
    both = functools.partial(encode, (task.frozen, placement.replicate(second.frozen)))
    rows, _ = encode_batches(both, placement, "features for labels", batches, total)
    width = task.clip.config.embed_dim
    return method.labeling.make(task, rows[:, :width], rows[:, width:], seed)


def make_encoder(
    method: Method, task: Task, tower: ViT | CLIP, inputs: Inputs
) -> Callable[[tuple[Any, Any], jax.Array], jax.Array]:
    """Returns the jitted program of both backbones' features, those of the first in front.

    Args:
        method, task, inputs: see `label_images`.
        tower: the second backbone's.
    """
    assert method.labeling is not None
    if isinstance(tower, ViT) and method.labeling.renormalizes(task.settings):
        given = (tuple(inputs.mean), tuple(inputs.std))
        tower = dataclasses.replace(tower, given=given)

    @jax.jit
    def encode(frozen: tuple[Any, Any], images: jax.Array) -> jax.Array:
        own = task.clip.encode_image(frozen[0], images)
        return jnp.concatenate([own, tower.encode_image(frozen[1], images)], axis=-1)

    return encode


def describe(labels: Labels, names: Sequence[str]) -> tuple[str, ...]:
    """Returns lines on how images were labeled, and on classes that none of them can get."""
    lines = [labels.described]
    if labels.left_out:
        shown = ", ".join(shorten(names[label]) for label in labels.left_out[:_SHOWN])
        more = len(labels.left_out) - _SHOWN
        lines.append(
            f"warning: {len(labels.left_out)} of {len(names)} classes are left out of the labels, "
            f"as too few images look like them: {shown}{f' and {more} more' * (more > 0)}"
        )
    return tuple(lines)
