"""Attention and features of the image tower in each pass of a method.

The method itself runs, with a CLIP that records its last block, so nothing is implemented twice.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax

from experiments.setup.preparation import Prepared
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.clip.image import Between
from prompt_jax.clip.layers import Layer
from prompt_jax.evaluation.programs import compiled
from prompt_jax.methods import Prompts


class Pass(NamedTuple):
    """One pass of images through the image tower.

    Attributes:
        attention: float32[B, heads, S], of the class token in the last block, to the class token,
            the patches, then the prompts.
        features: float32[B, d], not normalized.
    """

    attention: jax.Array
    features: jax.Array


@dataclasses.dataclass(frozen=True)
class RecordingCLIP(CLIP):
    """A CLIP that records its image tower, to be run without `jit`.

    Attributes:
        on_attention: called with the attention of the class token in the last block.
        on_features: called with the features.
    """

    on_attention: Callable[[jax.Array], None] = lambda _: None
    on_features: Callable[[jax.Array], None] = lambda _: None

    def run_image_layer(
        self,
        layer: Layer,
        tokens: jax.Array,
        queries: int | None = None,
        prompts: jax.Array | None = None,
        between: Between | None = None,
        attending: Between | None = None,
    ) -> jax.Array:
        """Records the attention of the last block; see `CLIP.run_image_layer`."""
        if layer.last:
            self.on_attention(layer.class_attention(layer.enter(tokens)))
        return super().run_image_layer(layer, tokens, queries, prompts, between, attending)

    def image_head(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Records the features; see `CLIP.image_head`."""
        features = super().image_head(frozen, tokens)
        self.on_features(features)
        return features


def record_passes(
    run: Prepared, prompts: Prompts, key: str, images: jax.Array
) -> tuple[Pass, Pass | None]:
    """Returns a pass without prompts, and the method's last pass with vision prompts.

    The second is None for a method without vision prompts, and for a method of videos.

    Args:
        run: a finished run, from `reopening.reopen`.
        prompts: its trained prompts.
        key: of the test set whose classes are predicted.
        images: float[B, H, W, 3], normalized.
    """
    attention: list[jax.Array] = []
    features: list[jax.Array] = []
    task = run.tests[key][0]
    fields = {field.name: getattr(task.clip, field.name) for field in dataclasses.fields(task.clip)}
    fields |= {"scan_layers": False}  # a loop would record tracers
    clip = RecordingCLIP(**fields, on_attention=attention.append, on_features=features.append)
    task = dataclasses.replace(task, clip=clip)
    prepared = compiled(run.method.prepare)(prompts, run.tests[key][0])
    # Otherwise a loop over iterations would record tracers.
    with jax.disable_jit():
        clip.encode_image(task.frozen, images)
        if run.plan.train.kind == "images" and run.method.input == "images":
            run.method.forward(prompts, prepared, task, images)
    passes = [Pass(*each) for each in zip(attention, features, strict=True)]
    plain = 1 + clip.config.patches
    prompted = [each for each in passes if each.attention.shape[-1] > plain]
    return passes[0], prompted[-1] if prompted else None
