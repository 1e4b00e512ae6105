"""VoP^P: prompts for each frame position beside shared ones (VoP, section 3.3)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.errors import PromptError
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.method import Prompts, Task
from prompt_jax.methods.record import Record
from prompt_jax.methods.video import vop
from prompt_jax.methods.video.vop import (
    Layer,
    LayerPrompts,
    Tokens,
    check_frames,
    draw,
    prompted_frame_layers,
)


@dataclasses.dataclass(frozen=True)
class Settings(vop.Settings):
    """VoP^P's settings.

    Attributes:
        vision_prompts: prompts per layer that all frames share.
        position_prompts: prompts per layer for each frame position.
        frames: F, the number of frames of every video, in training and test.
        text_prompts, depth, renormalize_video: see `vop.Settings`.
    """

    vision_prompts: int = 4
    position_prompts: int = 4
    frames: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("position_prompts", "frames"):
            if getattr(self, field) < 1:
                raise PromptError(f"settings.{field}={getattr(self, field)} must be at least 1")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Array]:
    """Draws VoP's prompts, and {"position_prompts": float32[K, F, p, d_v]} from N(0, 0.02)."""
    s, width = task.settings, task.clip.config.image_width
    rng, position_rng = jax.random.split(rng)
    shape = (prompted_frame_layers(task), s.frames, s.position_prompts, width)
    return vop.init(rng, task) | draw("position_prompts", position_rng, shape)


def layer_inputs(
    prompts: Prompts, task: Task, layer: Layer, tokens: Tokens
) -> tuple[Tokens, LayerPrompts | None]:
    """Returns the shared prompts and those of each frame position."""
    tokens, shared = vop.layer_inputs(prompts, task, layer, tokens)
    position = layer.own.get("position_prompts")
    if position is None:
        return tokens, shared
    check_frames(tokens, len(position), "there are prompts of positions")
    return tokens, append_prompts(shared, position)


def append_prompts(
    shared: Float[Array, "shared image_width"] | None,
    own: Float[Array, "*frames prompts image_width"],
) -> Float[Array, "*frames all_prompts image_width"]:
    """Appends the prompts of frames to shared prompts, if any."""
    if shared is None:
        return own
    shared = jnp.broadcast_to(shared, (*own.shape[:-2], *shared.shape))
    return jnp.concatenate([shared, own], axis=-2)


ENCODERS = Encoders(
    Settings, init, vop.encode_videos_with(layer_inputs), vop.encode_texts, vop.text_prompts
)

RECORD = Record(
    "vop_p",
    "VoP^P",
    vop.PAPER,
    (2022, 11, 8),
    ENCODERS,
    vop.RECIPES,
    "both",
    published=vop.table_1(40.1, 65.7, 77.7, 16.9, 2, 42.5, 70.0, 79.9, 12.4, 2),
)
