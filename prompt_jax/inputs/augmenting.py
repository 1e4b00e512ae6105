"""Augments training examples: random frames, crop and flip, or several views of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from prompt_jax.inputs.images.views import RECIPE, VIEWS, check_views
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
        views: names of V augmentations, see `images.views`, that give V views of each example;
            empty for one example without an axis of views.

    Raises:
        PromptError: there is no such view.
    """

    flip: bool = True
    rule: Rule = "segment"
    kind: Kind = "none"
    views: tuple[str, ...] = ()

    def __post_init__(self):
        """Checks the views."""
        check_views(self.views)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes before those of one example: (V,), or () without views."""
        return (len(self.views),) if self.views else ()


def augment(
    opened: Any, inputs: Inputs, how: Augmentation, rng: np.random.Generator, out: np.ndarray
) -> None:
    """Writes an augmented training example to `out`, float32[*how.axes, *inputs.shape].

    Args:
        opened: an RGB image, or a `Video`, whose frames are all changed alike.
        inputs: image size, number of frames and normalization.
        how: what is drawn.
        rng: decides all of it. The first view does not depend on the others.
    """
    places = out if how.views else [out]
    names = how.views or (RECIPE,)
    if inputs.frames:
        chosen = choose(how.rule, opened.count, inputs.frames, opened.rate, rng).tolist()
        frames = opened.frames(chosen)
        opened = list(frames) if len(names) > 1 else frames
    for name, place in zip(names, places, strict=True):
        draw = _frames if inputs.frames else _image
        draw(name, opened, inputs, how, rng, place)


def _image(name, image, inputs, how, rng, out):
    size, prepared = inputs.image_size, inputs.preprocessing
    VIEWS[name](image, size, rng, out, how.flip, prepared)


def _frames(name, frames, inputs, how, rng, out):
    size, prepared = inputs.image_size, inputs.preprocessing
    if name == RECIPE:
        _OF_VIDEOS[how.kind](frames, size, rng, out, how.flip, prepared)
        return
    drawn = rng.bit_generator.state
    for frame, place in zip(frames, out, strict=True):
        rng.bit_generator.state = drawn
        VIEWS[name](frame, size, rng, place, how.flip, prepared)
