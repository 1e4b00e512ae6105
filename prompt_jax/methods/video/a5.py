"""A5: vectors around the class name, and blocks over frozen frame features (Ju et al., ECCV 2022).

The image tower does not change, so features of frames can be cached.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import normalize
from prompt_jax.clip.blocks import Block
from prompt_jax.clip.layers import Layers
from prompt_jax.clip.packing import PackedTokens, make_room
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders, frame_features, pool_frames, put_after_sos
from prompt_jax.methods.method import Prompts, Task, Videos
from prompt_jax.methods.recipe import RETRIEVAL, Recipe
from prompt_jax.methods.record import Record
from prompt_jax.methods.video.vop import check_frames
from prompt_jax.prompts import encode_packed, init_linear

POSTFIXES = ("slot", "shared")
STANDARD_DEVIATION = 0.01


@dataclasses.dataclass(frozen=True)
class Settings(actions.Settings):
    """A5's settings.

    Attributes:
        prefix_prompts: p, the number of vectors before the name.
        postfix_prompts: q, the number of vectors after it.
        postfix: "slot": both are rows of a table with a row per slot of the text tower, so vectors
            after a name depend on its length (the published code); "shared": the same q vectors
            after all names (the paper).
        temporal_blocks: number of blocks over a video's frames; 0 for the mean of frozen features.
        temporal_heads: number of attention heads in each block.
        frames: F, the number of frames of every video; not used without temporal blocks.
        pooling, renormalize_video: see `VideoSettings`.
        temperature: see `actions.Settings`.
    """

    prefix_prompts: int = 16
    postfix_prompts: int = 16
    postfix: str = "slot"
    temporal_blocks: int = 2
    temporal_heads: int = 8
    frames: int = 16
    temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.postfix not in POSTFIXES:
            raise unknown("settings.postfix", self.postfix, POSTFIXES)
        for field in ("prefix_prompts", "postfix_prompts", "temporal_heads", "frames"):
            if getattr(self, field) < 1:
                raise PromptError(f"settings.{field}={getattr(self, field)} must be at least 1")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws the text vectors, and the frame embeddings and blocks if there are temporal blocks.

    {"embedding": float32[77, d_l]}, or {"prefix": float32[p, d_l], "postfix": float32[q, d_l]}, and
    "temporal_embedding", float32[F, d], from N(0, 0.01); "temporal": blocks as in PyTorch.

    Raises:
        PromptError: the number of heads does not divide the width of the features.
    """
    s, sizes = task.settings, task.clip.config
    text_rng, postfix_rng, frame_rng, block_rng = jax.random.split(rng, 4)

    def draw(rng: PRNGKeyArray, *shape: int) -> Array:
        return STANDARD_DEVIATION * jax.random.normal(rng, shape)

    prompts: dict[str, Any]
    if s.postfix == "slot":
        prompts = {"embedding": draw(text_rng, sizes.context_length, sizes.text_width)}
    else:
        prompts = {
            "prefix": draw(text_rng, s.prefix_prompts, sizes.text_width),
            "postfix": draw(postfix_rng, s.postfix_prompts, sizes.text_width),
        }
    if not s.temporal_blocks:
        return prompts
    if sizes.embed_dim % s.temporal_heads:
        raise PromptError(
            f"settings.temporal_heads={s.temporal_heads} must divide the width of the backbone's "
            f"features, {sizes.embed_dim}"
        )
    rngs = jax.random.split(block_rng, s.temporal_blocks)
    blocks = {f"block_{n}": init_block(each, sizes.embed_dim) for n, each in enumerate(rngs)}
    frames = draw(frame_rng, s.frames, sizes.embed_dim)
    return prompts | {"temporal_embedding": frames, "temporal": blocks}


def init_block(rng: PRNGKeyArray, width: int) -> dict[str, dict[str, Array]]:
    """Draws a block as PyTorch's `nn.MultiheadAttention`, `nn.LayerNorm` and `nn.Linear` do."""
    qkv_rng, out_rng, fc_rng, proj_rng = jax.random.split(rng, 4)
    bound, shape = math.sqrt(6 / (4 * width)), (width, 3 * width)
    qkv = jax.random.uniform(qkv_rng, shape, minval=-bound, maxval=bound)
    norms = {
        name: {"scale": jnp.ones(width), "bias": jnp.zeros(width)} for name in ("ln_1", "ln_2")
    }
    return norms | {
        "qkv": {"kernel": qkv, "bias": jnp.zeros(3 * width)},
        "out": init_linear(out_rng, width, width) | {"bias": jnp.zeros(width)},
        "fc": init_linear(fc_rng, width, 4 * width),
        "proj": init_linear(proj_rng, 4 * width, width),
    }


def encode_videos(
    prompts: Prompts, task: Task, videos: Videos | Float[Array, "batch frames dim"]
) -> Float[Array, "batch dim"]:
    """Averages the frozen features of frames, or the outputs of the blocks."""
    features = frame_features(task, videos)
    if "temporal" in prompts:
        features = attend_frames(prompts, task, features)
    return pool_frames(features, task.settings)


def attend_frames(
    prompts: Prompts, task: Task, features: Float[Array, "batch frames dim"]
) -> Float[Array, "batch frames dim"]:
    """Applies the temporal blocks to frames with temporal embeddings."""
    table, blocks = prompts["temporal_embedding"], prompts["temporal"]
    check_frames(features, len(table), "there is a temporal table")
    width, heads = features.shape[-1], task.settings.temporal_heads
    sizes = (width, heads, 4 * width, "quick_gelu", len(blocks))
    block = Block(*sizes, **task.clip.block_options, parent=None)
    layers = Layers(block, blocks, len(blocks), task.clip.scan_layers)
    return layers.apply(features + table)


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes [SOS][p vectors][words][q vectors][EOT]; SOS and the p vectors are computed once."""
    s, clip, frozen = task.settings, task.clip, task.frozen
    texts, free = make_room(texts, s.postfix_prompts)
    if s.postfix == "slot":
        first = 1 + s.prefix_prompts
        prefix = prompts["embedding"][1:first]
        after = jnp.take(prompts["embedding"], first + texts.position, axis=0, mode="clip")
    else:
        prefix, after = prompts["prefix"], prompts["postfix"][free]
    words = clip.embed_text(frozen, texts.tokens)
    embedded = jnp.where(free[..., None] >= 0, after, words)
    cache = put_after_sos(task, prefix)
    return normalize(encode_packed(clip, frozen, cache, texts, embedded))


def text_prompts(settings: Settings) -> int:
    """Counts the slots of the text tower that vectors take."""
    return settings.prefix_prompts + settings.postfix_prompts


def template(settings: Settings, template: str) -> str:
    """Returns the class name without a full stop."""
    del settings, template
    return "{}"


ENCODERS = Encoders(
    Settings,
    init,
    encode_videos,
    encode_texts,
    text_prompts,
    scale=actions.scale,
    template=template,
    input="frames",
)

# The published code samples frames differently, trains for 1,100 steps, which are as many epochs of
# HMDB-51 as given here, and tests on five samples of frames, here on one.
_TRAINED = Recipe(
    *(183, 64, 1e-4, "adamw", "constant"),
    cached_views=10,
    weight_decay=0.01,
    data={"frames": 16},
)
_LONG = _TRAINED.but(epochs=20, learning_rate=1e-3)
RECORD = Record(
    "a5",
    "A5",
    'Ju et al., "Prompting Visual-Language Models for Efficient Video Understanding", ECCV 2022',
    (2021, 12),
    ENCODERS,
    {
        "few_shot": _TRAINED.but(
            epochs=0, epochs_by_shots=((2, 1100), (4, 366), (8, 183), (16, 92))
        ),
        "base_to_novel": _TRAINED,
        "supervised": _LONG,
        "zero_shot_transfer": _LONG,
        "retrieval": RETRIEVAL.but(settings={"frames": 12}),
    },
    "both",
    published=(
        actions.table_1((39.7, 50.7, 56.0, 62.4), (71.4, 79.9, 85.7, 89.9), (4.4, 5.1, 6.1, 9.7)),
        actions.table_4(
            hmdb51=(46.2, 16.0, 23.8),
            ucf101_clips=(90.5, 40.4, 55.8),
            ssv2=(8.3, 5.3, 6.4),
            kinetics400=(69.7, 37.6, 48.8),
        ),
        actions.table_3("hmdb51", 44.3, 2.2),
        actions.table_3("ucf101_clips", 69.3, 4.2),
        actions.tables_5_and_7(msrvtt_9k=(36.7, 64.6)),
    ),
)
