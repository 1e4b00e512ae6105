"""Zero-shot CLIP: the data set's own template, nothing trained (Radford et al., 2021)."""

import dataclasses

from prompt_jax.clip import normalize
from prompt_jax.methods.method import Method, Output, cosine_logits
from prompt_jax.prompts import encode_classes


@dataclasses.dataclass(frozen=True)
class Settings:
    """None."""


def init(rng, task):
    """No prompts."""
    del rng, task
    return {}


def prepare(prompts, task):
    """The classes' text features, float32[K, d], normalised."""
    del prompts
    return normalize(encode_classes(task.clip, task.frozen, task.described))


def forward(prompts, prepared, task, images):
    """Cosine similarity of the image with every class."""
    del prompts
    features = normalize(task.clip.encode_image(task.frozen, images))
    return Output(cosine_logits(task, features, prepared)[None])


METHOD = Method(Settings, init, prepare, forward)
