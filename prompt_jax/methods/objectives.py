"""What encoders of videos and texts are trained for: captions against videos, or class names."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from prompt_jax.clip import tokenizer
from prompt_jax.clip.captions import tokenize_captions
from prompt_jax.clip.packing import PackedTokens, pack_captions
from prompt_jax.errors import PromptError, shorten
from prompt_jax.methods.encoders import Encoders, encode_captions
from prompt_jax.methods.method import Method, Output, describe_classes
from prompt_jax.text.class_names import fill


class Classes(NamedTuple):
    """What no prompt changes of K classes: their texts' own token ids, and the features float32
    [K, d] of the texts written by hand, None where no loss compares with them."""

    texts: PackedTokens
    plain: jax.Array | None


# Cached: programs are compiled for a method, by its identity.
@functools.cache
def retrieve(encoders: Encoders) -> Method:
    """Captions against videos: cross-entropy over both, of the pairs of the batch.

    A batch is {"image": float[B, F, H, W, 3], "text": `PackedTokens` of B captions, "label":
    int[B], the video of each caption: 0 … B - 1}. Rows of the logits are captions, columns videos,
    and a caption's own video is the right one, even if another shows the same. On several devices
    the pairs are those of the global batch.

    Source: vop.md "Similarity and loss"; the loss of X-Pool and CLIP4Clip.
    """

    def forward(prompts, prepared, task, pairs):
        del prepared
        videos = encoders.encode_videos(prompts, task, pairs.videos)
        texts = encoders.encode_texts(prompts, task, pairs.texts)
        logits = encoders.scale(prompts, task) * similarities(texts, videos)
        own = jnp.arange(len(logits))
        columns = optax.softmax_cross_entropy_with_integer_labels(logits.T, own)
        plain = None
        if encoders.plain_template(task.settings, "{}") is not None:
            plain = encode_captions(task.clip, task.frozen, task.names.sos, pairs.texts)
        losses = {"videos": 0.5 * jnp.mean(columns)} | encoders.losses(task, texts, plain)
        return Output(logits[None], weights=(0.5,), losses=losses)

    return Method(
        encoders.Settings,
        encoders.init,
        forward,
        input="videos",
        objective="pairs",
        trains=encoders.trains,
        optimizer=encoders.optimizer,
    )


@functools.cache
def recognize(encoders: Encoders) -> Method:
    """Class names against videos: cross-entropy over the classes.

    The text of a class is the encoders' template, filled with its name.
    """

    def constants(task, class_names, template):
        """The classes' token ids, and frozen text features where a loss compares with them."""
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
            jax.tree.map(jnp.asarray, pack_captions(captions.tokens)),
            None if plain is None else describe_classes(task, class_names, plain),
        )

    def prepare(prompts, task):
        """The classes' text features, float32[K, d]."""
        return encoders.encode_texts(prompts, task, task.constants.texts)

    def forward(prompts, prepared, task, videos):
        """Similarity of the video with every class."""
        videos = encoders.encode_videos(prompts, task, videos)
        logits = encoders.scale(prompts, task) * similarities(videos, prepared)
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
    )


def similarities(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Products float32[N, M] of features float32[N, d] and float32[M, d]."""
    # As in `cosine_logits`: times 100, what accelerators round float32 products to would show.
    return jnp.matmul(rows, columns.T, precision="highest")
