"""Objectives of encoders of videos and texts: retrieval of captions, or action recognition."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from prompt_jax.clip import tokenizer
from prompt_jax.clip.packing import PackedTokens, pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import PromptError, shorten
from prompt_jax.mesh import DATA, MODEL, constrain, size
from prompt_jax.methods.encoders import Encoders, encode_captions, pool_frames
from prompt_jax.methods.method import (
    Method,
    Output,
    Pairs,
    Prompts,
    Task,
    Videos,
    describe_classes,
)
from prompt_jax.text.class_names import fill


class Classes(NamedTuple):
    """The token ids of classes, and the features of their handwritten texts if a loss uses them."""

    texts: PackedTokens
    plain: Float[Array, "classes dim"] | None


# Cached, because compiled programs are cached by a method's identity.
@functools.cache
def retrieve(encoders: Encoders) -> Method:
    """Returns the method that retrieves captions and videos: cross-entropy in both directions.

    A batch is {"image": float[B, F, H, W, 3], "text": `PackedTokens` of B captions, "label":
    int[B], the video of each caption: 0 … B - 1}. Rows of the logits are captions, columns videos;
    a caption's own video is the target, even if another shows the same. On several devices the
    pairs are those of the global batch.

    Source: VoP (CVPR 2023); the loss of X-Pool and CLIP4Clip.
    """

    def forward(prompts: Prompts, prepared: None, task: Task, pairs: Pairs) -> Output:
        del prepared
        videos, more = _encode_videos(encoders, prompts, task, pairs)
        texts = encoders.encode_texts(prompts, task, pairs.texts)
        logits = encoders.scale(prompts, task) * similarities(texts, videos)
        logits = constrain(task.clip.mesh, logits, MODEL, DATA)
        own = jnp.arange(len(logits))
        columns = optax.softmax_cross_entropy_with_integer_labels(logits.T, own)
        plain = None
        if encoders.plain_template(task.settings, "{}") is not None:
            plain = encode_captions(task.clip, task.frozen, task.sos, pairs.texts)
        losses = {"videos": 0.5 * jnp.mean(columns)} | encoders.losses(task, texts, plain)
        return Output(logits[None], weights=(0.5,), losses=losses | more)

    return Method(
        encoders.Settings,
        encoders.init,
        forward,
        input="videos",
        objective="pairs",
        trains=encoders.trains,
        optimizer=encoders.optimizer,
        copies_weights=encoders.copies_weights,
        texts=encoders.texts,
        frame_groups=encoders.frame_groups,
    )


def _encode_videos(
    encoders: Encoders, prompts: Prompts, task: Task, pairs: Pairs
) -> tuple[Float[Array, "batch dim"], dict[str, Float[Array, ""]]]:
    """Returns the features of videos, and the terms of the loss that read their captions."""
    if encoders.captioning is None:
        return encoders.encode_videos(prompts, task, pairs.videos), {}
    frames = encoders.captioning.encode_frames(prompts, task, pairs.videos)
    losses = encoders.captioning.losses(prompts, task, frames, pairs.texts)
    return pool_frames(frames, task.settings), losses


@functools.cache
def recognize(encoders: Encoders) -> Method:
    """Returns the method that classifies videos: cross-entropy over the classes.

    The text of a class is the encoders' template with its name.
    """

    def constants(task: Task, class_names: Sequence[str], template: str) -> Classes:
        own = encoders.template(task.settings, template)
        texts = [fill(own, name) for name in class_names]
        prompts = encoders.text_prompts(task.settings)
        captions = tokenize_captions(texts, prompts, task.clip.config.context_length)
        if captions.cut:
            first, slots = captions.cut[0], task.clip.config.context_length
            needed = len(tokenizer.encode(texts[first])) + 2 + prompts
            raise PromptError(
                f"the text of class {shorten(class_names[first])}, {shorten(texts[first])}, takes "
                f"{needed} tokens, {prompts} of them the prompts'; the text tower has {slots}: "
                "shorten the name or the template"
            )
        plain = encoders.plain_template(task.settings, template)
        return Classes(
            pack_captions(captions.tokens, size(task.clip.mesh, MODEL)),
            None if plain is None else describe_classes(task, class_names, plain),
        )

    def prepare(prompts: Prompts, task: Task) -> Float[Array, "classes dim"]:
        return encoders.encode_texts(prompts, task, task.constants.texts)

    def forward(
        prompts: Prompts,
        prepared: Float[Array, "classes dim"],
        task: Task,
        videos: Videos | Float[Array, "batch frames dim"],
    ) -> Output:
        videos = encoders.encode_videos(prompts, task, videos)
        logits = encoders.scale(prompts, task) * similarities(videos, prepared)
        logits = constrain(task.clip.mesh, logits, DATA, MODEL)
        losses = encoders.losses(task, prepared, task.constants.plain)
        return Output(logits[None], losses=losses)

    return Method(
        encoders.Settings,
        encoders.init,
        forward,
        prepare,
        input=encoders.input,
        constants=constants,
        trains=encoders.trains,
        optimizer=encoders.optimizer,
        copies_weights=encoders.copies_weights,
        texts=encoders.texts,
        frame_groups=encoders.frame_groups,
    )


def similarities(
    rows: Float[Array, "rows dim"], columns: Float[Array, "columns dim"]
) -> Float[Array, "rows columns"]:
    """Computes the products of all pairs of features, precisely as in `cosine_logits`."""
    return jnp.matmul(rows, columns.T, precision="highest")
