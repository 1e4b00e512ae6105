"""VoP^C: prompts computed from the class tokens of a video's frames (VoP, section 3.3)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods import context
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.method import Prompts, Task
from prompt_jax.methods.record import Published, Record
from prompt_jax.methods.video import vop
from prompt_jax.methods.video.vop import Layer, LayerPrompts, Tokens, prompted_frame_layers
from prompt_jax.methods.video.vop_p import append_prompts

ROLES = ("prompts", "class_tokens")


@dataclasses.dataclass(frozen=True)
class Settings(vop.Settings):
    """VoP^C's settings.

    Attributes:
        vision_prompts: prompts per layer that all frames of all videos share.
        context_prompts: prompts per layer that the context module computes for each frame.
        context_module: the module over the class tokens of a video's frames before each layer:
            "bilstm"; "lstm", which only sees earlier frames; or "transformer", 4 layers without
            frame positions.
        context_role: the use of its output: as "prompts", or as the frames' "class_tokens" without
            prompts besides the shared ones.
        context_gradient: whether gradients flow through the class tokens into earlier layers.
        text_prompts, depth, renormalize_video: see `vop.Settings`.
    """

    vision_prompts: int = 4
    context_prompts: int = 4
    context_module: str = "bilstm"
    context_role: str = "prompts"
    context_gradient: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context_prompts < 1:
            raise PromptError(f"settings.context_prompts={self.context_prompts} must be at least 1")
        if self.context_module not in context.MODULES:
            raise unknown("settings.context_module", self.context_module, context.MODULES)
        if self.context_role not in ROLES:
            raise unknown("settings.context_role", self.context_role, ROLES)


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws VoP's prompts, the context module, see `context`, and the linear layer "fc" after it.

    "fc" is {"weight": float32[p · d_v, in], "bias": float32[p · d_v]}, uniform ±1/√in as in
    PyTorch's `nn.Linear`, for p prompts. All layers share it and the module.
    """
    s, width = task.settings, task.clip.config.image_width
    rng, module_rng, linear_rng = jax.random.split(rng, 3)
    prompts = vop.init(rng, task)
    if not prompted_frame_layers(task):
        return prompts
    made = s.context_prompts if s.context_role == "prompts" else 1
    inputs = context.output_width(s.context_module, width)
    return (
        prompts
        | context.init(module_rng, s.context_module, task.clip)
        | {"fc": context.init_torch_linear(linear_rng, inputs, made * width)}
    )


def layer_inputs(
    prompts: Prompts, task: Task, layer: Layer, tokens: Tokens
) -> tuple[Tokens, LayerPrompts | None]:
    """Adds the context module's prompts to the shared ones, or replaces the class tokens."""
    s, clip, frozen = task.settings, task.clip, task.frozen
    tokens, shared = vop.layer_inputs(prompts, task, layer, tokens)
    if not layer.prompted:
        return tokens, shared
    if layer.first:  # before `ln_pre`, where all frames of all videos have the same class token
        seen = clip.class_token(frozen)
        seen = jnp.broadcast_to(seen, (tokens.shape[1], *seen.shape))
    else:
        seen = tokens[..., 0, :]
    made = make(prompts, task, seen if s.context_gradient else jax.lax.stop_gradient(seen))
    if s.context_role == "prompts":
        return tokens, append_prompts(shared, made)
    if layer.first:
        made = clip.embed_prompts(frozen, made)
    made = jnp.broadcast_to(made, (*tokens.shape[:2], *made.shape[-2:]))
    return jnp.concatenate([made, tokens[..., 1:, :]], axis=-2), shared


def make(
    prompts: Prompts, task: Task, seen: Float[Array, "*batch frames image_width"]
) -> Float[Array, "*batch frames prompts image_width"]:
    """Computes the prompts of each frame from the class tokens."""
    output = context.run(prompts, task.settings.context_module, task.clip, seen)
    made = context.torch_linear(prompts["fc"], output)
    return made.reshape(*seen.shape[:-1], -1, seen.shape[-1])


ENCODERS = Encoders(
    Settings, init, vop.encode_videos_with(layer_inputs), vop.encode_texts, vop.text_prompts
)

RECORD = Record(
    "vop_c",
    "VoP^C",
    vop.PAPER,
    (2022, 11, 9),
    ENCODERS,
    vop.RECIPES,
    "both",
    published=(
        *vop.table_1(40.8, 68.1, 79.0, 15.8, 2, 42.3, 70.1, 81.1, 11.4, 2),
        Published(
            "retrieval",
            {
                "msrvtt_7k": (40.0, 67.3, 78.2, None),
                "didemo": (40.0, 68.0, 78.5, None),
                "activitynet": (32.6, 62.5, 76.5, None),
                "lsmdc": (20.4, 40.0, 48.1, None),
            },
            "VoP (CVPR 2023), other data sets",
            backbone="ViT-B/32",
        ),
    ),
)
