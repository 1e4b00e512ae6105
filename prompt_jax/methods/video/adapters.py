"""Adapters parallel to every block's attention or MLP: baselines of VoP (CVPR 2023, Table 1).

Adapters: Houlsby et al., ICML 2019; parallel to a sublayer, and scaled: AdaptFormer, Chen et al.,
NeurIPS 2022.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import Frozen
from prompt_jax.clip.layers import merge
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods.encoders import Encoders, VideoSettings, encode_frames
from prompt_jax.methods.method import Prompts, Task, Videos
from prompt_jax.methods.video import vop
from prompt_jax.methods.video.tuned import encode_plain_texts
from prompt_jax.prompts import init_linear

INPUTS = ("normed", "residual")


@dataclasses.dataclass(frozen=True)
class Settings(VideoSettings):
    """The settings of adapters.

    Attributes:
        hidden: width of the bottleneck.
        adapter_scale: factor of an adapter's output.
        adapter_input: the input of an adapter: "normed", that of the sublayer; or "residual", the
            tokens before the LayerNorm, as in AdaptFormer's code.
        renormalize_video: see `VideoSettings`.
    """

    hidden: int = 64
    adapter_scale: float = 1.0
    adapter_input: str = "normed"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1:
            raise PromptError(f"settings.hidden={self.hidden} must be at least 1")
        if self.adapter_input not in INPUTS:
            raise unknown("settings.adapter_input", self.adapter_input, INPUTS)


@dataclasses.dataclass(frozen=True)
class MlpSettings(Settings):
    """The settings of adapters parallel to the MLP, which AdaptFormer scales down."""

    adapter_scale: float = 0.1


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws {"image" and "text": {"down" and "up": a linear layer per layer of the tower}}.

    "kernel" float32[L, in, out], "bias" float32[L, out]; the kernels of "down" are uniform ±1/√in,
    the rest is 0, so that training starts from the unchanged backbone.
    """
    c, hidden = task.clip.config, task.settings.hidden
    sizes = {"image": (c.image_layers, c.image_width), "text": (c.text_layers, c.text_width)}
    prompts = {}
    for (tower, (layers, width)), each in zip(sizes.items(), jax.random.split(rng), strict=True):
        down = jax.vmap(lambda rng, width=width: init_linear(rng, width, hidden)["kernel"])
        prompts[tower] = {
            "down": {
                "kernel": down(jax.random.split(each, layers)),
                "bias": jnp.zeros((layers, hidden)),
            },
            "up": {
                "kernel": jnp.zeros((layers, hidden, width)),
                "bias": jnp.zeros((layers, width)),
            },
        }
    return prompts


def _parallel_to(sublayer: str, settings: type) -> Encoders:
    """Returns the encoders with adapters parallel to "attention" or "mlp"."""

    def add_adapters(prompts: Prompts, task: Task) -> Frozen:
        s = task.settings
        arrays: dict = {}
        for tower, adapter in prompts.items():
            up = jax.tree.map(lambda x: s.adapter_scale * x, adapter["up"])
            scaled = {"down": adapter["down"], "up": up}
            arrays[tower] = {
                f"block_{layer}": {
                    f"{sublayer}_adapter": {
                        s.adapter_input: jax.tree.map(lambda x, layer=layer: x[layer], scaled)
                    }
                }
                for layer in range(len(adapter["down"]["bias"]))
            }
        return merge(task.frozen, arrays)

    def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
        return encode_frames(task, add_adapters(prompts, task), videos)

    def encode_texts(
        prompts: Prompts, task: Task, texts: PackedTokens
    ) -> Float[Array, "texts dim"]:
        return encode_plain_texts(task, add_adapters(prompts, task), texts)

    return Encoders(settings, init, encode_videos, encode_texts)


ATTENTION = _parallel_to("attention", Settings)
MLP = _parallel_to("mlp", MlpSettings)


RECORDS = (
    vop.baseline_record(
        "adapter_attn",
        "adapters beside attention",
        5,
        ATTENTION,
        1e-3,
        *(37.6, 63.2, 75.8, 18.7, 3, 39.6, 66.5, 76.8, 14.7, 2),
        export="adapters",
    ),
    vop.baseline_record(
        "adapter_ffn",
        "adapters beside the MLP",
        6,
        MLP,
        1e-3,
        *(38.2, 63.5, 76.4, 17.9, 3, 39.9, 66.8, 77.7, 14.2, 2),
        export="adapters",
    ),
)
