"""Objectives of encoders of videos and texts: retrieval of captions, or action recognition."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from prompt_jax.clip import normalize, tokenizer
from prompt_jax.clip.packing import PackedTokens, pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import PromptError, shorten
from prompt_jax.mesh import DATA, MODEL, constrain, size, sum_rows
from prompt_jax.methods.encoders import Encoders, encode_captions, no_constants, pool_frames
from prompt_jax.methods.method import (
    Method,
    Output,
    Pairs,
    Prompts,
    Task,
    Videos,
    describe_classes,
    one,
    zero,
)
from prompt_jax.text.class_names import fill

SAME_CLASS = 10.0
"""What the target of `contrast_classes` gives to pairs of one class, before the softmax."""


class Classes(NamedTuple):
    """The texts of classes.

    Attributes:
        texts: their token ids.
        plain: features of handwritten texts, if a loss uses them.
        owner: the class of each text; None if each class has one.
        more: what `Encoders.constants` returns.
    """

    texts: PackedTokens
    plain: Float[Array, "classes dim"] | None
    owner: Int[Array, " texts"] | None = None
    more: Any = None


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
        decays=encoders.decays,
        optimizer=encoders.optimizer,
        copies_weights=encoders.copies_weights,
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

    The text of a class is the encoders' template with its name. If the encoders read texts of
    classes, it is the class's own text; the features of several are averaged.
    """

    def constants(task: Task, class_names: Sequence[str], template: str) -> Classes:
        names, texts = _texts_of(encoders, task, class_names, template)
        prompts = encoders.text_prompts(task.settings)
        captions = tokenize_captions(texts, prompts, task.clip.config.context_length)
        if captions.cut:
            first, slots = captions.cut[0], task.clip.config.context_length
            needed = len(tokenizer.encode(texts[first])) + 2 + prompts
            raise PromptError(
                f"the text of class {shorten(names[first])}, {shorten(texts[first])}, takes "
                f"{needed} tokens, {prompts} of them the prompts'; the text tower has {slots}: "
                "shorten the name or the template"
            )
        plain = encoders.plain_template(task.settings, template)
        place = {name: label for label, name in enumerate(class_names)}
        several = len(texts) > len(class_names)
        return Classes(
            pack_captions(captions.tokens, size(task.clip.mesh, MODEL), task.clip.few_lengths),
            None if plain is None else describe_classes(task, class_names, plain),
            jnp.asarray([place[name] for name in names]) if several else None,
            encoders.constants(task, class_names, texts),
        )

    def prepare(prompts: Prompts, task: Task) -> Float[Array, "classes dim"]:
        features = encoders.encode_texts(prompts, task, task.constants.texts)
        owner = task.constants.owner
        if owner is None:
            return features
        number = len(task.trained)
        return normalize(sum_rows(features, owner, number))

    def forward(
        prompts: Prompts,
        prepared: Float[Array, "classes dim"],
        task: Task,
        videos: Videos | Float[Array, "batch frames dim"],
    ) -> Output:
        videos = encoders.encode_videos(prompts, task, videos)
        logits = compare(task, encoders.scale(prompts, task), videos, prepared)
        losses = encoders.losses(task, prepared, task.constants.plain)
        return Output(logits[None], losses=losses)

    apart = not (encoders.texts or encoders.forward) and encoders.constants is no_constants
    return Method(
        encoders.Settings,
        encoders.init,
        encoders.forward or forward,
        prepare,
        input=encoders.input,
        constants=constants,
        trains=encoders.trains,
        decays=encoders.decays,
        optimizer=encoders.optimizer,
        copies_weights=encoders.copies_weights,
        texts=encoders.texts,
        frame_groups=encoders.frame_groups,
        learn=encoders.learn,
        own_classes_only=encoders.own_classes_only,
        spare_from=one if apart else zero,
    )


def _texts_of(
    encoders: Encoders, task: Task, class_names: Sequence[str], template: str
) -> tuple[list[str], list[str]]:
    """Returns the class of each text, and the texts."""
    if task.texts is None:
        own = encoders.template(task.settings, template)
        return list(class_names), [fill(own, name) for name in class_names]
    names: list[str] = []
    texts: list[str] = []
    for name, some in zip(class_names, task.texts.of(class_names), strict=True):
        if not some:
            raise PromptError(f"{task.texts.where} has no text of class {shorten(name)}; add one")
        names += [name] * len(some)
        texts += some
    return names, texts


def compare(
    task: Task,
    scale: Float[Array, ""],
    videos: Float[Array, "batch dim"],
    classes: Float[Array, "classes dim"],
) -> Float[Array, "batch classes"]:
    """Returns cos/τ of normalized features of videos and classes, split over the mesh."""
    return constrain(task.clip.mesh, scale * similarities(videos, classes), DATA, MODEL)


def contrast_classes(
    pairs: Float[Array, "batch batch"], labels: Int[Array, " batch"]
) -> Float[Array, ""]:
    """Returns the mean divergence of videos and the texts of their classes, in both directions.

    KL(target || softmax of a row), summed over the row and averaged over rows; targets are the
    softmax over 10 where the labels agree and 0 elsewhere.

    Args:
        pairs: cos/τ of every video, in rows, with the text of every video's class.
        labels: the classes of the videos.

    Source: ActionCLIP (Wang et al., 2021), whose loss EZ-CLIP and M²-CLIP use.
    """
    target = jax.nn.softmax(SAME_CLASS * (labels[:, None] == labels))

    def divergence(rows: Float[Array, "batch batch"]) -> Float[Array, ""]:
        return jnp.mean(optax.losses.kl_divergence(jax.nn.log_softmax(rows), target))

    return (divergence(pairs) + divergence(pairs.T)) / 2


def similarities(
    rows: Float[Array, "rows dim"], columns: Float[Array, "columns dim"]
) -> Float[Array, "rows columns"]:
    """Computes the products of all pairs of features, precisely as in `cosine_logits`."""
    return jnp.matmul(rows, columns.T, precision="highest")
