"""Guesses masked words of texts from videos: a text block that attends to frames, and a head.

Only in training. Source: M²-CLIP (Wang et al., AAAI 2024).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prompt_jax.clip import CLIP, Frozen, tokenizer
from prompt_jax.clip.blocks import layer_norm
from prompt_jax.clip.text import one_class_a_row
from prompt_jax.errors import PromptError, shorten
from prompt_jax.prompts import STANDARD_DEVIATION, multiply
from prompt_jax.text.texts import clean, split

MASK = "mask"
"""The word in place of a masked one."""

NORM_EPSILON = 1e-12


class Words(NamedTuple):
    """The words of texts that may be masked, and the texts' tokens.

    Attributes:
        tokens: int32[N, S], of each text after SOS, up to EOT and zeros.
        eot: int32[N], index of EOT.
        first, length: int32[N, M], index of the first token of each such word, and how many tokens
            it has.
        word: int32[N, M], its index in the list of words; -1 where there are fewer than M.
    """

    tokens: Int[Array, "texts tokens"]
    eot: Int[Array, " texts"]
    first: Int[Array, "texts words"]
    length: Int[Array, "texts words"]
    word: Int[Array, "texts words"]


class Masked(NamedTuple):
    """Texts with masked words.

    Attributes:
        tokens, eot: see `Words`.
        slots: int[B, M], the tokens at which words are guessed.
        targets: int[B, M], the words' indices; -1 at slots that are not read.
    """

    tokens: Int[Array, "batch tokens"]
    eot: Int[Array, " batch"]
    slots: Int[Array, "batch words"]
    targets: Int[Array, "batch words"]


def read(text: str, field: str) -> list[str]:
    """Returns the words of a list: separated by spaces, or each followed by its index from 0.

    Raises:
        PromptError: a word is listed twice, or an index is missing.
    """
    parts = text.lower().split()
    words, indices = parts[::2], parts[1::2]
    if parts and len(words) == len(indices) and all(index.isdecimal() for index in indices):
        order = sorted(zip(map(int, indices), words, strict=True))
        for expected, (index, word) in enumerate(order):
            if index != expected:
                raise PromptError(
                    f"{field} gives {shorten(word)} the index {index}, where {expected} "
                    "comes next; number the words from 0, each once"
                )
        parts = [word for _, word in order]
    twice = next((word for place, word in enumerate(parts) if word in parts[:place]), None)
    if twice is not None:
        raise PromptError(f"{field} lists {shorten(twice)} twice; keep one")
    return parts


def find_words(texts: Sequence[str], words: Sequence[str]) -> Words:
    """Finds the words of a list, in lower case, in texts."""
    places = {word: index for index, word in enumerate(words)}
    rows, found = [], []
    for text in texts:
        row: list[int] = []
        own = []
        for word in split(clean(text)):
            ids = tokenizer.encode(word)
            if word in places:
                own.append((len(row), len(ids), places[word]))
            row += ids
        rows.append([*row, tokenizer.EOT])
        found.append(own)
    tokens = np.zeros((len(texts), max(map(len, rows), default=1)), np.int32)
    most = max(map(len, found), default=0)
    each = np.full((len(texts), most, 3), (0, 0, -1), np.int32)
    for number, (row, own) in enumerate(zip(rows, found, strict=True)):
        tokens[number, : len(row)] = row
        each[number, : len(own)] = np.asarray(own, np.int32).reshape(-1, 3)
    eot = np.array([len(row) - 1 for row in rows], np.int32)
    return Words(*map(jnp.asarray, (tokens, eot, each[..., 0], each[..., 1], each[..., 2])))


def mask(
    words: Words, texts: Int[Array, " batch"], probability: float, rng: PRNGKeyArray
) -> Masked:
    """Masks each word of some texts with a probability.

    All tokens of a masked word are replaced, and it is guessed at the first.
    """
    tokens, eot, first, length, word = (array[texts] for array in words)
    chosen = jax.random.bernoulli(rng, probability, word.shape) & (word >= 0)
    slot = jnp.arange(tokens.shape[1])
    inside = (slot >= first[..., None]) & (slot < (first + length)[..., None])
    replaced = jnp.any(inside & chosen[..., None], axis=1)
    (instead,) = tokenizer.encode(MASK)
    return Masked(jnp.where(replaced, instead, tokens), eot, first, jnp.where(chosen, word, -1))


def init(rng: PRNGKeyArray, clip: CLIP, words: int) -> dict[str, Any]:
    """Draws the head: "dense", "norm" and "decoder", whose kernels are from N(0, 0.02).

    Raises:
        PromptError: a text block cannot attend to features of this CLIP.
    """
    width, found = clip.config.text_width, clip.config.embed_dim
    if width != found:
        raise PromptError(
            f"settings.words needs a backbone whose features are as wide as its text tower, {width}"
            f"; they have {found} dimensions: leave settings.words empty"
        )
    dense_rng, decoder_rng = jax.random.split(rng)

    def linear(rng: PRNGKeyArray, outputs: int) -> dict[str, Array]:
        kernel = STANDARD_DEVIATION * jax.random.normal(rng, (width, outputs))
        return {"kernel": kernel, "bias": jnp.zeros(outputs)}

    return {
        "dense": linear(dense_rng, width),
        "norm": {"scale": jnp.ones(width), "bias": jnp.zeros(width)},
        "decoder": linear(decoder_rng, words),
    }


def encode(
    clip: CLIP, frozen: Frozen, texts: Masked
) -> tuple[Float[Array, "batch dim"], Float[Array, "batch words text_width"]]:
    """Returns the features of texts, not normalized, and the last block's tokens at their slots."""
    sos = clip.prefill(frozen, clip.embed_text(frozen, jnp.asarray([tokenizer.SOS])))
    embedded = clip.embed_text(frozen, texts.tokens)
    slots = jnp.concatenate([texts.eot[:, None], texts.slots], axis=1)
    hidden = clip.extend(frozen, sos, embedded, one_class_a_row(embedded), slots, hidden=True)
    return clip.text_head(frozen, hidden[:, 0]), hidden[:, 1:]


def guess(
    clip: CLIP,
    frozen: Frozen,
    own: Any,
    hidden: Float[Array, "batch words text_width"],
    frames: Float[Array, "batch frames text_width"],
) -> Float[Array, "batch words list"]:
    """Computes the logits of the words in the list.

    Args:
        clip, frozen: the backbone; its last text block is run once more.
        own: the head, see `init`; and adapters of that block, by its names of them.
        hidden: from `encode`.
        frames: their features, as wide as the text tower.
    """
    layer = clip.text_layers(frozen)[clip.config.text_layers - 1]
    adapters = {name: own[name] for name in own if name.startswith("before_")}
    layer = layer._replace(params={**layer.params, **adapters})
    seen = layer.look(layer.enter(hidden), *layer.key_value(frames))
    x: Any = layer_norm(jnp.float32).apply({"params": frozen["text"]["ln_final"]}, seen)
    x = multiply(x, own["dense"]["kernel"]) + own["dense"]["bias"]
    norm = nn.LayerNorm(NORM_EPSILON, use_fast_variance=False)
    x = norm.apply({"params": own["norm"]}, jax.nn.gelu(x, approximate=False))
    return multiply(x, own["decoder"]["kernel"]) + own["decoder"]["bias"]


def loss(
    logits: Float[Array, "batch words list"], targets: Int[Array, "batch words"]
) -> Float[Array, ""]:
    """Returns the mean cross-entropy of the masked words; 0 if there are none."""
    masked = targets >= 0
    each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(targets, 0))
    return jnp.sum(jnp.where(masked, each, 0.0)) / jnp.maximum(1, jnp.sum(masked))
