"""ViLT-CLIP's first variant: independent prompts in both towers (AAAI 2024, eqs. 5, 7 and 8).

Prompts take slots among the tokens, as in IVLP: each of the first layers overwrites them; later
layers process them like other tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip.packing import PackedTokens
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders, encode_after, pool_frames
from prompt_jax.methods.method import Prompts, Task, Videos
from prompt_jax.methods.record import Published, Record
from prompt_jax.methods.video.vop import draw
from prompt_jax.prompts import encode_prompted_image


@dataclasses.dataclass(frozen=True)
class SlotSettings(actions.Settings):
    """The settings that all methods share whose prompts take slots.

    Attributes:
        vision_prompt_before_ln_pre: whether the first layer's vision prompts pass `ln_pre` with the
            patches, as in MaPLe's and ViFi-CLIP's code, or are inserted after it.
        pooling, renormalize_video, temperature: see `actions.Settings`.
    """

    vision_prompt_before_ln_pre: bool = True


@dataclasses.dataclass(frozen=True)
class Settings(SlotSettings):
    """The settings of independent prompts.

    Attributes:
        text_prompts: b, prompts per layer of the text tower; 0 for none.
        vision_prompts: b_v, prompts per layer of the image tower; 0 for none.
        text_depth: J_l, the number of layers of the text tower, from the first on, that receive
            prompts; all layers if it has fewer.
        vision_depth: J_v, the same for the image tower.
    """

    text_prompts: int = 10
    vision_prompts: int = 10
    text_depth: int = 12
    vision_depth: int = 12


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Float[Array, "layers prompts width"]]:
    """Draws "text_prompts" and "vision_prompts" from N(0, 0.02), without those of a depth of 0."""
    s, sizes = task.settings, task.clip.config
    text_rng, vision_rng = jax.random.split(rng)
    text = (min(s.text_depth, sizes.text_layers), s.text_prompts, sizes.text_width)
    vision = (min(s.vision_depth, sizes.image_layers), s.vision_prompts, sizes.image_width)
    return draw("text_prompts", text_rng, text) | draw("vision_prompts", vision_rng, vision)


def see_videos(
    task: Task, videos: Videos, slots: Float[Array, "layers prompts image_width"] | None
) -> Float[Array, "batch dim"]:
    """Encodes videos with deep prompts, or without."""
    clip, frozen, s = task.clip, task.frozen, task.settings
    if slots is None:
        features = clip.encode_image(frozen, videos)
    elif s.vision_prompt_before_ln_pre:
        features = encode_prompted_image(clip, frozen, videos, slots)
    else:
        features = clip.encode_image(frozen, videos, deep_prompts=slots)
    return pool_frames(features, s)


def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
    """Encodes videos with the vision prompts."""
    return see_videos(task, videos, prompts.get("vision_prompts"))


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes texts after SOS and the prompts."""
    slots = prompts.get("text_prompts", jnp.zeros((1, 0, task.clip.config.text_width)))
    return encode_after(task, slots, texts)


def text_prompts(settings: Settings) -> int:
    """Counts the slots of the text tower that prompts take."""
    return settings.text_prompts


ENCODERS = Encoders(
    Settings,
    init,
    encode_videos,
    encode_texts,
    text_prompts,
    scale=actions.scale,
    template=actions.name_alone,
)

_TEN = {"text_prompts": 16, "vision_prompts": 16, "text_depth": 10, "vision_depth": 10}
RECORD = Record(
    "vilt_independent",
    "ViLT-CLIP's independent prompts",
    actions.VILT_CLIP,
    (2024, 3, 1),
    ENCODERS,
    {
        **actions.RECIPES,
        "base_to_novel": actions.RECIPES["base_to_novel"].but(settings=_TEN),
        "retrieval": actions.RETRIEVAL.but(settings={"text_prompts": 6, "vision_prompts": 6}),
    },
    "both",
    published=(
        actions.table_1((57.8, 60.0, 64.8, 67.4), (84.0, 87.1, 90.4, 93.1), (7.3, 8.1, 9.8, 13.0)),
        actions.table_4(
            hmdb51=(75.1, 55.8, 64.1),
            ucf101_clips=(95.3, 67.8, 79.3),
            ssv2=(16.5, 12.4, 14.1),
            kinetics400=(77.2, 61.0, 68.2),
        ),
        Published("supervised", {"kinetics400": (75.83,)}, "ViLT-CLIP (AAAI 2024), Table 6"),
        actions.tables_5_and_7(
            msrvtt_9k=(44.3, 69.6, 18.4),
            msvd=(46.4, 76.3, 9.8),
            lsmdc=(17.6, 36.7, 69.1),
            didemo=(38.8, 65.8, 16.7),
        ),
    ),
)
