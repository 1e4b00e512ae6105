"""VoP^F, F+P, F+C: the last layers process all frames of a video together (VoP, section 3.3)."""

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip.image import LayerRun
from prompt_jax.errors import PromptError
from prompt_jax.methods.encoders import Encoders, VideoSettings, pool_frames
from prompt_jax.methods.method import Prompts, Task, Videos
from prompt_jax.methods.record import Record
from prompt_jax.methods.video import vop, vop_c, vop_p
from prompt_jax.methods.video.vop import LayerInputs, Tokens, check_frames, draw, run_frames

PUBLISHED_LAYERS = 12


@dataclasses.dataclass(frozen=True)
class Joint(VideoSettings):
    """The settings of the joint layers, the last ones, which process all frames together.

    Attributes:
        video_prompts: prompts per joint layer.
        per_frame_layers: how many of twelve layers, from the first on, process frames separately;
            for an image tower with more or fewer layers, scaled in proportion and rounded.
        frame_position: whether a learned vector per frame is added to the frame's tokens before
            the joint layers. The published numbers of parameters are without.
        frames: F, the number of frames of every video; not used without frame positions.
    """

    video_prompts: int = 8
    per_frame_layers: int = 8
    frame_position: bool = True
    frames: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_frame_layers > PUBLISHED_LAYERS:
            raise PromptError(
                f"settings.per_frame_layers={self.per_frame_layers} must be from 0 to "
                f"{PUBLISHED_LAYERS}: it counts in twelfths of the image tower's layers"
            )
        if self.frames < 1:
            raise PromptError(f"settings.frames={self.frames} must be at least 1")

    def frame_layers(self, layers: int) -> int:
        """Scales `per_frame_layers` to a tower; see `vop.Settings.frame_layers`."""
        return round(layers * self.per_frame_layers / PUBLISHED_LAYERS)


@dataclasses.dataclass(frozen=True)
class Settings(Joint, vop.Settings):
    """VoP^F's settings: `vop.Settings` for the first layers, `Joint` for the last."""


@dataclasses.dataclass(frozen=True)
class PositionSettings(Joint, vop_p.Settings):
    """VoP^F+P's settings: `vop_p.Settings` for the first layers, `Joint` for the last."""


@dataclasses.dataclass(frozen=True)
class ContextSettings(Joint, vop_c.Settings):
    """VoP^F+C's settings: `vop_c.Settings` for the first layers, `Joint` for the last."""


@flax.struct.dataclass
class JointLayer:
    """A layer that attends to all frames of a video together.

    Attributes:
        prompts: float[n, d_v], or None.
        first: whether it is the tower's first layer.
        queries: number of leading tokens that are read of its output; None for all.
    """

    prompts: Array | None
    first: bool = flax.struct.field(pytree_node=False)
    queries: int | None = flax.struct.field(pytree_node=False)


Init = Callable[[PRNGKeyArray, Task], dict[str, Any]]


def init_with(init_frames: Init) -> Init:
    """Returns an `init` that adds the prompts of joint layers to those of `init_frames`.

    {"video_prompts": float32[K - L_s, n, d_v], "frame_position": float32[F, d_v]} from N(0, 0.02),
    each only if it is used.
    """

    def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
        s, sizes = task.settings, task.clip.config
        rng, video_rng, position_rng = jax.random.split(rng, 3)
        frame_layers, layers = s.frame_layers(sizes.image_layers), sizes.image_layers
        video = (max(0, min(s.depth, layers) - frame_layers), s.video_prompts, sizes.image_width)
        prompts = init_frames(rng, task) | draw("video_prompts", video_rng, video)
        if s.frame_position and frame_layers < layers:
            prompts |= draw("frame_position", position_rng, (s.frames, sizes.image_width))
        return prompts

    return init


def encode_videos_with(
    layer_inputs: LayerInputs,
) -> Callable[[Prompts, Task, Array], Float[Array, "batch dim"]]:
    """Returns the video encoder of a method with joint layers after those of `layer_inputs`."""

    def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
        clip, frozen, layers = task.clip, task.frozen, task.clip.config.image_layers
        first, frames = task.settings.frame_layers(layers), videos.shape[1]
        tokens = run_frames(layer_inputs, prompts, task, videos)
        if "frame_position" in prompts:
            position = prompts["frame_position"]
            check_frames(videos, len(position), "there are frame positions")
            tokens = tokens + position[:, None]

        def step(
            run: LayerRun,
            tokens: Float[Array, "batch tokens image_width"],
            layer: JointLayer,
        ) -> Float[Array, "batch kept image_width"]:
            seen = layer.prompts
            if layer.first and seen is not None:
                seen = clip.embed_prompts(frozen, seen)
            return run(tokens, layer.queries, seen)

        table = prompts.get("video_prompts", ())
        joint = [
            JointLayer(
                table[layer - first] if layer - first < len(table) else None,
                first=layer == 0,
                queries=frames if layer == layers - 1 else None,
            )
            for layer in range(first, layers)
        ]
        tokens = clip.run_image_layers(frozen, step, join(tokens), joint, first)
        class_tokens = tokens[:, :frames, None]
        return pool_frames(clip.image_head(frozen, class_tokens), task.settings)

    return encode_videos


def join(tokens: Tokens) -> Float[Array, "batch frames*tokens image_width"]:
    """Concatenates the tokens of all frames, class tokens first."""
    patches = tokens[:, :, 1:].reshape(tokens.shape[0], -1, tokens.shape[-1])
    return jnp.concatenate([tokens[:, :, 0], patches], axis=1)


def _joined(settings: type, variant: ModuleType) -> Encoders:
    encode_videos = encode_videos_with(variant.layer_inputs)
    return Encoders(
        settings, init_with(variant.init), encode_videos, vop.encode_texts, vop.text_prompts
    )


ENCODERS = _joined(Settings, vop)
ENCODERS_P = _joined(PositionSettings, vop_p)
ENCODERS_C = _joined(ContextSettings, vop_c)

RECORDS = (
    Record(
        "vop_f",
        "VoP^F",
        vop.PAPER,
        (2022, 11, 10),
        ENCODERS,
        vop.RECIPES,
        "both",
        published=vop.table_1(42.6, 68.4, 78.7, 15.8, 2, 42.4, 70.5, 81.0, 11.0, 2),
    ),
    Record(
        "vop_f_p",
        "VoP^{F+P}",
        vop.PAPER,
        (2022, 11, 11),
        ENCODERS_P,
        vop.RECIPES,
        "both",
        published=vop.table_1(43.5, 69.3, 79.3, 14.8, 2, 43.6, 71.2, 81.2, 11.0, 2),
    ),
    Record(
        "vop_f_c",
        "VoP^{F+C}",
        vop.PAPER,
        (2022, 11, 12),
        ENCODERS_C,
        vop.RECIPES,
        "both",
        published=vop.table_1(44.6, 69.9, 80.3, 16.3, 2, 44.5, 70.7, 80.6, 11.5, 2),
    ),
)
