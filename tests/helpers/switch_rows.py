"""Prompt Switch under test: expected figures, tasks and parameters."""

from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from reference import FOLDER, FROZEN, TINY
from video_rows import CAPTIONS, VIDEOS, VideoRow

from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.methods.video import prompt_switch
from prompt_jax.training import train

ROWS = [
    VideoRow("prompt_switch", prompt_switch.Settings(prompts=4), "prompt_switch"),
    VideoRow("prompt_switch", prompt_switch.Settings(prompts=2), "prompt_switch_chunks"),
]
METHOD = methods.retrieve(prompt_switch.ENCODERS)
BATCH = {
    "image": VIDEOS,
    "text": pack_captions(tokenize_captions(CAPTIONS).tokens),
    "label": jnp.arange(len(VIDEOS)),
}


def _load_figures() -> dict[str, Any]:
    with np.load(FOLDER / "switch.npz") as arrays:
        flat = {tuple(key.split("/")): arrays[key] for key in arrays}
    return flax.traverse_util.unflatten_dict(flat)


FIGURES = _load_figures()


def task_of(
    number: int, clip: CLIP = TINY, frozen: Frozen = FROZEN, **settings: Any
) -> methods.Task:
    """Returns the task on captions, with n prompts per frame and no captioner by default."""
    given = {"captioner": False} | settings
    return methods.make_task(
        METHOD, clip, frozen, (), prompt_switch.Settings(prompts=number, **given)
    )


def start_of(task: methods.Task, own: Any) -> methods.Prompts:
    """Returns the initial prompts with the method's own arrays replaced by nested `own`."""
    flat = flax.traverse_util.flatten_dict(METHOD.init(jax.random.key(0), task))
    own = flax.traverse_util.flatten_dict(jax.tree.map(jnp.asarray, own))
    assert own.keys() <= flat.keys()
    return flax.traverse_util.unflatten_dict(flat | own)


@jax.jit
def measure(prompts, task, batch):
    """Returns ((loss, output), gradients)."""

    def loss(prompts):
        return train.loss_and_output(METHOD, prompts, task, batch)

    return jax.value_and_grad(loss, has_aux=True)(prompts)


def features(task: methods.Task, prompts: methods.Prompts, videos: jax.Array = VIDEOS) -> jax.Array:
    """Returns the features of frames."""
    return jax.jit(prompt_switch.encode_frames)(prompts, task, videos)
