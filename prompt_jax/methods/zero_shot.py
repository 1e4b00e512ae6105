"""Zero-shot CLIP: the data set's own template, nothing trained (Radford et al., 2021)."""

import dataclasses

from prompt_jax.clip import normalize
from prompt_jax.methods.method import Method, Output, cosine_logits
from prompt_jax.prompts import encode_templates


@dataclasses.dataclass(frozen=True)
class Settings:
    """None."""


def init(rng, task):
    """No prompts."""
    del rng, task
    return {}


def constants(task, class_names, template):
    """The classes' text features, float32[K, d], normalised."""
    return normalize(encode_templates(task.clip, task.frozen, (template,), class_names))


def forward(prompts, prepared, task, features):
    """Cosine similarity of the image with every class."""
    del prompts, prepared
    return Output(cosine_logits(task, normalize(features), task.constants)[None])


METHOD = Method(Settings, init, forward, sees="features", constants=constants)
