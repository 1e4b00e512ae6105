"""A captioner: a decoder that predicts the next token of a caption from a video's features.

It is trained beside a method and not used for predictions. Captions are packed several to a row, as
for the text tower (`clip.packing`), and the decoder runs on these rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from prompt_jax.clip import CLIP, Frozen, tokenizer
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.heads.attention import (
    Parameters,
    attend_to,
    init_attention,
    init_norm,
    linear,
    norm,
)
from prompt_jax.mesh import constrain, text_axes
from prompt_jax.prompts import init_linear


class Targets(NamedTuple):
    """The tokens to predict, slot by slot, in rows of packed captions.

    Attributes:
        seen: int32[rows, R], the token before each: SOS before the first of a caption.
        tokens: int32[rows, R], those to predict, up to and including EOT.
        column: int32[rows, R], which caption of the row a slot belongs to.
        used: bool[rows, R], False for slots after a row's last caption.
    """

    seen: Int[Array, "rows slots"]
    tokens: Int[Array, "rows slots"]
    column: Int[Array, "rows slots"]
    used: Bool[Array, "rows slots"]


def init(rng: PRNGKeyArray, clip: CLIP, frozen: Frozen, layers: int) -> dict[str, Parameters]:
    """Draws a decoder of the text tower's width and heads, as PyTorch's `nn.TransformerDecoder`.

    Args:
        rng: random key.
        clip, frozen: the backbone.
        layers: number of decoder layers.

    Returns:
        "prenorm", "layer_0", …, "norm" and "head", the linear layer to the vocabulary: its kernel
        starts as the token embedding, float32[d_l, V], its bias at zero.
    """
    width, inputs = clip.config.text_width, clip.config.embed_dim
    table = jnp.asarray(frozen["text"]["token_embedding"], jnp.float32).T
    drawn: dict[str, Parameters] = {
        f"layer_{number}": _init_layer(each, width, inputs)
        for number, each in enumerate(jax.random.split(rng, layers))
    }
    return drawn | {
        "prenorm": init_norm(width),
        "norm": init_norm(width),
        "head": {"kernel": table, "bias": jnp.zeros(table.shape[1])},
    }


def _init_layer(rng, width, inputs):
    own_rng, seen_rng, first_rng, second_rng = jax.random.split(rng, 4)
    return {
        "self_attention": init_attention(own_rng, width, width),
        "cross_attention": init_attention(seen_rng, width, inputs),
        "linear_1": init_linear(first_rng, width, 4 * width),
        "linear_2": init_linear(second_rng, 4 * width, width),
        **{f"norm_{number}": init_norm(width) for number in (1, 2, 3)},
    }


def targets_of(captions: PackedTokens) -> Targets:
    """Returns the tokens of packed captions as targets, with the tokens before them."""
    tokens, first = captions.tokens, captions.position == 0
    seen = jnp.where(first, tokenizer.SOS, jnp.roll(tokens, 1, axis=1))
    ends = (tokens == tokenizer.EOT).astype(jnp.int32)
    column = jnp.cumsum(ends, axis=1) - ends
    return Targets(seen, tokens, column, column < jnp.sum(ends, axis=1, keepdims=True))


def predict(
    params: Parameters,
    clip: CLIP,
    frozen: Frozen,
    memory: Float[Array, "captions tokens dim"],
    captions: PackedTokens,
) -> Float[Array, "rows slots vocabulary"]:
    """Computes the logits of the next token in every slot of packed captions.

    Args:
        params: of `init`.
        clip, frozen: the backbone, whose embeddings of tokens and positions get no gradient.
        memory: what each caption's tokens attend to, such as the features of a video's frames.
        captions: packed captions.

    Returns:
        float32; in slots after a row's last caption without meaning.
    """
    targets = targets_of(captions)
    rows, slots = targets.tokens.shape
    positions = jax.lax.stop_gradient(frozen["text"]["position_embedding"])
    words = jax.lax.stop_gradient(clip.embed_text(frozen, targets.seen))
    x = norm(params["prenorm"], words + jnp.take(positions, captions.position, axis=0))
    x = _split(clip, x, captions)
    distance = jnp.arange(slots)[:, None] - jnp.arange(slots)
    before = (distance >= 0) & (distance <= captions.position[..., None])
    # The memories of the captions of a row follow one another.
    number = memory.shape[1]
    columns = captions.eot.shape[1]
    placed = jnp.zeros((rows * columns, *memory.shape[1:]), memory.dtype)
    placed = placed.at[captions.place].set(memory).reshape(rows, -1, memory.shape[-1])
    placed = _split(clip, placed, captions)
    column = jnp.minimum(targets.column, columns - 1)  # so that every slot attends to something
    own = column[..., None] == jnp.repeat(jnp.arange(columns), number)
    heads = clip.config.text_heads
    for name in sorted((name for name in params if name.startswith("layer_")), key=_number):
        layer = params[name]
        x = norm(
            layer["norm_1"],
            x + attend_to(clip, layer["self_attention"], heads, x, x, before[:, None]),
        )
        x = norm(
            layer["norm_2"],
            x + attend_to(clip, layer["cross_attention"], heads, x, placed, own[:, None]),
        )
        hidden = jax.nn.relu(linear(clip, layer["linear_1"], x))
        x = norm(layer["norm_3"], x + linear(clip, layer["linear_2"], hidden))
    logits = linear(clip, params["head"], norm(params["norm"], x))
    return _split(clip, logits.astype(jnp.float32), captions)


def loss(
    logits: Float[Array, "rows slots vocabulary"],
    captions: PackedTokens,
    weights: Float[Array, " vocabulary"],
) -> Float[Array, ""]:
    """Computes the cross-entropy of the next tokens, averaged by the weights of the targets."""
    targets = targets_of(captions)
    own = jnp.take_along_axis(logits, targets.tokens[..., None], axis=-1)[..., 0]
    weight = jnp.where(targets.used, weights[targets.tokens], 0.0)
    return jnp.sum(weight * (jax.nn.logsumexp(logits, axis=-1) - own)) / jnp.sum(weight)


def _number(name):
    return int(name.removeprefix("layer_"))


def _split(clip, x, captions):
    """Splits rows over the mesh as the text tower's."""
    axes = text_axes(clip.mesh, captions.groups)
    return constrain(clip.mesh, x, axes, *(None,) * (x.ndim - 1))
