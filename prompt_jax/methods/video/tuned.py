"""Fine-tuning of parts of the backbone: baselines of VoP (Huang et al., CVPR 2023, Table 1).

The trainable parameters are copies of frozen arrays and replace them in the backbone, so that
training, checkpoints and sharding treat them as prompts.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import CLIPConfig, Frozen
from prompt_jax.clip.layers import copy_arrays, merge
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.methods.encoders import Encoders, VideoSettings, encode_captions, encode_frames
from prompt_jax.methods.method import Prompts, Task, Videos
from prompt_jax.methods.video import vop

HIGHEST_SCALE = math.log(100)

Chooses = Callable[[tuple[str, ...], CLIPConfig], bool]
"""(path of an array of the backbone, the backbone's config) -> whether it trains."""


def encode_plain_texts(
    task: Task, frozen: Frozen, texts: PackedTokens
) -> Float[Array, "texts dim"]:
    """Encodes texts, with SOS, by a backbone that may differ from the task's."""
    clip = task.clip
    sos = clip.prefill(frozen, clip.embed_text(frozen, task.names.prefix[:1]))
    return encode_captions(clip, frozen, sos, texts)


def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
    """Encodes videos by the fine-tuned backbone."""
    return encode_frames(task, merge(task.frozen, prompts), videos)


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes texts by the fine-tuned backbone."""
    return encode_plain_texts(task, merge(task.frozen, prompts), texts)


def scale(prompts: Prompts, task: Task) -> Float[Array, ""]:
    """Returns 1/τ from the prompts if it trains, or else from the backbone."""
    return jnp.exp(merge(task.frozen, prompts)["logit_scale"].astype(jnp.float32))


def bound_scale(
    rule: optax.GradientTransformation, settings: VideoSettings, epochs: int, steps_per_epoch: int
) -> optax.GradientTransformation:
    """Bounds 1/τ to at most 100, as in X-Pool and CLIP4Clip."""
    del settings, epochs, steps_per_epoch

    def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        updates, state = rule.update(gradients, state, params)
        room = HIGHEST_SCALE - params["logit_scale"]  # exact within a factor of 2 of the bound
        return updates | {"logit_scale": jnp.minimum(updates["logit_scale"], room)}, state

    return optax.GradientTransformation(rule.init, update)


def is_any(path: tuple[str, ...], sizes: CLIPConfig) -> bool:
    """Accepts every array, including 1/τ."""
    del path, sizes
    return True


def is_bias(path: tuple[str, ...], sizes: CLIPConfig) -> bool:
    """Accepts the biases of linear layers, attention and LayerNorms."""
    del sizes
    return path[-1] == "bias"


def is_projection(path: tuple[str, ...], sizes: CLIPConfig) -> bool:
    """Accepts the last linear projection of either tower."""
    del sizes
    return path[1:2] == ("projection",)


def is_last_block(path: tuple[str, ...], sizes: CLIPConfig) -> bool:
    """Accepts the last block of either tower."""
    last = {"image": sizes.image_layers, "text": sizes.text_layers}
    return path[1:2] == (f"block_{last.get(path[0], 0) - 1}",)


def copy_chosen(task: Task, chooses: Chooses) -> dict[str, Any]:
    """Copies the backbone's arrays that train, with the same nesting."""
    return copy_arrays(task.frozen, lambda path: chooses(path, task.clip.config))


def _tuned(chooses: Chooses, **others: Any) -> Encoders:
    def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
        del rng
        return copy_chosen(task, chooses)

    return Encoders(
        VideoSettings,
        init,
        encode_videos,
        encode_texts,
        scale=scale,
        copies_weights=True,
        **others,
    )


FULL = _tuned(is_any, optimizer=bound_scale)
BIAS = _tuned(is_bias)
PROJ = _tuned(is_projection)
PARTIAL = _tuned(is_last_block)


RECORDS = (
    vop.baseline_record(
        "full",
        "full fine-tuning",
        1,
        FULL,
        1e-6,
        *(41.7, 69.2, 79.0, 16.5, 2, 42.5, 70.9, 81.4, 11.0, 2),
        export="tuned",
        large=True,
    ),
    vop.baseline_record(
        "bias",
        "bias tuning",
        2,
        BIAS,
        1e-4,
        *(39.7, 66.5, 77.3, 17.3, 2, 41.1, 68.4, 79.2, 13.6, 2),
        export="tuned",
    ),
    vop.baseline_record(
        "proj",
        "tuned projections",
        3,
        PROJ,
        1e-4,
        *(37.1, 63.0, 76.1, 20.5, 3, 37.2, 64.6, 75.9, 16.7, 3),
        export="tuned",
    ),
    vop.baseline_record(
        "partial",
        "partial fine-tuning",
        4,
        PARTIAL,
        1e-5,
        *(39.8, 65.3, 75.9, 19.3, 2, 37.9, 66.1, 77.4, 15.5, 3),
        export="tuned",
        large=True,
    ),
)
