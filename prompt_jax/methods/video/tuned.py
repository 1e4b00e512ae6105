"""Parts of the backbone that train, VoP's comparison (Huang et al., CVPR 2023, Table 1).

What trains is a copy of some of the frozen arrays and stands in for them, so training, checkpoints
and devices need not know. Captions and frames are plain: no prompts.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import optax

from prompt_jax.clip import CLIPConfig, Frozen
from prompt_jax.methods.encoders import Encoders, VideoSettings, encode_captions, encode_frames
from prompt_jax.methods.method import Task
from prompt_jax.methods.recipe import RETRIEVAL
from prompt_jax.methods.record import Record
from prompt_jax.methods.video import vop

HIGHEST_SCALE = math.log(100)

Chooses = Callable[[tuple[str, ...], CLIPConfig], bool]
"""(path of an array of the backbone, its sizes) -> whether it trains."""


def merge(frozen: Frozen, arrays: Any) -> Frozen:
    """The backbone with some arrays in the place of its own, or beside them."""
    flat = flax.traverse_util.flatten_dict(frozen) | flax.traverse_util.flatten_dict(arrays)
    return flax.traverse_util.unflatten_dict(flat)


def encode_plain_texts(task, frozen, texts):
    """Texts float32[N, d] by a backbone that need not be the task's: its SOS is another."""
    clip = task.clip
    sos = clip.prefill(frozen, clip.embed_text(frozen, task.names.prefix[:1]))
    return encode_captions(clip, frozen, sos, texts)


def encode_videos(prompts, task, videos):
    """The mean over the frames, by the backbone as it is trained."""
    return encode_frames(task, merge(task.frozen, prompts), videos)


def encode_texts(prompts, task, texts):
    """Texts by the backbone as it is trained."""
    return encode_plain_texts(task, merge(task.frozen, prompts), texts)


def scale(prompts, task):
    """1/τ, of the prompts where it trains."""
    return jnp.exp(merge(task.frozen, prompts)["logit_scale"].astype(jnp.float32))


def bound_scale(rule, settings, epochs, steps_per_epoch):
    """Training leaves 1/τ at most 100, as in X-Pool and CLIP4Clip."""
    del settings, epochs, steps_per_epoch

    def update(gradients, state, params):
        updates, state = rule.update(gradients, state, params)
        room = HIGHEST_SCALE - params["logit_scale"]  # exact within a factor of 2 of the bound
        return updates | {"logit_scale": jnp.minimum(updates["logit_scale"], room)}, state

    return optax.GradientTransformation(rule.init, update)


def is_any(path, sizes):
    """Everything, 1/τ too."""
    del path, sizes
    return True


def is_bias(path, sizes):
    """Every bias vector: of linear layers, attention's inputs, LayerNorms."""
    del sizes
    return path[-1] == "bias"


def is_projection(path, sizes):
    """The last linear projection of either tower."""
    del sizes
    return path[1:2] == ("projection",)


def is_last_block(path, sizes):
    """The last block of either tower."""
    last = {"image": sizes.image_layers, "text": sizes.text_layers}
    return path[1:2] == (f"block_{last.get(path[0], 0) - 1}",)


def copy_chosen(task: Task, chooses: Chooses) -> Any:
    """Copies of the backbone's arrays that train, in its own nesting."""
    flat = flax.traverse_util.flatten_dict(task.frozen)
    chosen = {path: x for path, x in flat.items() if chooses(path, task.clip.config)}
    # Training reuses the memory of what it changes: the frozen ones must stay.
    copies = {path: jnp.array(array, copy=True) for path, array in chosen.items()}
    return flax.traverse_util.unflatten_dict(copies)


def _tuned(chooses: Chooses, **others):
    def init(rng, task):
        """Copies of the arrays that train."""
        del rng
        return copy_chosen(task, chooses)

    return Encoders(VideoSettings, init, encode_videos, encode_texts, scale=scale, **others)


FULL = _tuned(is_any, optimizer=bound_scale)
BIAS = _tuned(is_bias)
PROJ = _tuned(is_projection)
PARTIAL = _tuned(is_last_block)


def _record(name: str, title: str, row: int, encoders: Encoders, rate: float, *ranks: float):
    """The record of a row of VoP's Table 1; the rate is ours."""
    return Record(
        name,
        title,
        f"as in {vop.PAPER}",
        (2022, 11, row),
        encoders,
        {"retrieval": RETRIEVAL.but(learning_rate=rate)},
        "weights",
        published=vop.table_1(*ranks),
        export="tuned",
        large=name in ("full", "partial"),
    )


RECORDS = (
    _record(
        "full",
        "full fine-tuning",
        1,
        FULL,
        1e-6,
        *(41.7, 69.2, 79.0, 16.5, 2, 42.5, 70.9, 81.4, 11.0, 2),
    ),
    _record(
        "bias",
        "bias tuning",
        2,
        BIAS,
        1e-4,
        *(39.7, 66.5, 77.3, 17.3, 2, 41.1, 68.4, 79.2, 13.6, 2),
    ),
    _record(
        "proj",
        "tuned projections",
        3,
        PROJ,
        1e-4,
        *(37.1, 63.0, 76.1, 20.5, 3, 37.2, 64.6, 75.9, 16.7, 3),
    ),
    _record(
        "partial",
        "partial fine-tuning",
        4,
        PARTIAL,
        1e-5,
        *(39.8, 65.3, 75.9, 19.3, 2, 37.9, 66.1, 77.4, 15.5, 3),
    ),
)
