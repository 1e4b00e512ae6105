"""Augments training examples: random frames, crop and flip."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from prompt_jax.inputs.images.transforms import train_transform
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.videos import transforms, vifi
from prompt_jax.inputs.videos.sampling import Rule, choose

Kind = Literal["none", "vifi"]
KINDS: tuple[str, ...] = get_args(Kind)
_OF_VIDEOS: dict[str, Callable[..., Any]] = {
    "none": transforms.train_transform,
    "vifi": vifi.train_transform,
}


@dataclass(frozen=True)
class Augmentation:
    """The random augmentation of training examples.

    Attributes:
        flip: whether to mirror half of the examples; False if left and right matter.
        rule: for videos, how frames are chosen; see `videos.sampling.choose`.
        kind: for videos, "none": crop and flip, see `videos.transforms`; "vifi": also colors and
            another way of resizing, see `videos.vifi`, used with the rule "segment".
    """

    flip: bool = True
    rule: Rule = "segment"
    kind: Kind = "none"


def augment(
    opened: Any, inputs: Inputs, how: Augmentation, rng: np.random.Generator, out: np.ndarray
) -> None:
    """Writes an augmented training example to `out`, float32[*inputs.shape].

    Args:
        opened: an RGB image, or a `Video`, whose frames are all cropped and mirrored alike.
        inputs: image size, number of frames and normalization.
        how: what is drawn.
        rng: decides all of it.
    """
    size, prepared = inputs.image_size, inputs.preprocessing
    if not inputs.frames:
        train_transform(opened, size, rng, out, flip=how.flip, preprocessing=prepared)
        return
    chosen = choose(how.rule, opened.count, inputs.frames, opened.rate, rng).tolist()
    _OF_VIDEOS[how.kind](opened.frames(chosen), size, rng, out, how.flip, prepared)
