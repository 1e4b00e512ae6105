"""VoP: prompts in every layer of both towers, for texts and videos (Huang et al., CVPR 2023).

Every frame is an image of its own; its prompts are new in each layer, and what they become is
dropped. The variants say which prompts a layer's frames see: a `see` function.
"""

import dataclasses
from collections.abc import Callable

import jax

from prompt_jax.errors import PromptError
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders, VideoSettings, encode_captions, pool_frames
from prompt_jax.methods.method import Prompts, Task
from prompt_jax.methods.recipe import RETRIEVAL
from prompt_jax.methods.record import Published, Record
from prompt_jax.prompts import STANDARD_DEVIATION

See = Callable[[Prompts, Task, int, jax.Array], tuple[jax.Array, jax.Array | None]]
"""(prompts, task, layer, tokens float[B, F, S, d_v]) -> the tokens as they enter that layer, and
the prompts that it sees, float[a, d_v], float[F, a, d_v] or float[B, F, a, d_v]; None for none."""


@dataclasses.dataclass(frozen=True)
class Settings(VideoSettings):
    """VoP's settings.

    Attributes:
        text_prompts: prompts per layer of the text tower; 0 leaves that tower without.
        vision_prompts: prompts per layer of the image tower; 0 leaves that tower without.
        depth: K, the first layers of either tower that receive prompts. A tower of fewer layers
            gets them in all.
        renormalize_video: see `VideoSettings`.
    """

    text_prompts: int = 8
    vision_prompts: int = 8
    depth: int = 12

    def frame_layers(self, layers: int) -> int:
        """How many of an image tower's layers, from the first on, see each frame by itself."""
        return layers


def prompted_frame_layers(task: Task) -> int:
    """How many layers that see each frame by itself receive prompts."""
    return min(task.settings.depth, task.settings.frame_layers(task.clip.config.image_layers))


def init(rng, task):
    """{"text_prompts": float32[K, n, d_l], "vision_prompts": float32[K, n, d_v]}, N(0, 0.02).

    What has no prompts is left out.
    """
    s, sizes = task.settings, task.clip.config
    text_rng, vision_rng = jax.random.split(rng)
    text = (min(s.depth, sizes.text_layers), s.text_prompts, sizes.text_width)
    vision = (prompted_frame_layers(task), s.vision_prompts, sizes.image_width)
    return draw("text_prompts", text_rng, text) | draw("vision_prompts", vision_rng, vision)


def draw(name: str, rng: jax.Array, shape: tuple[int, ...]) -> dict[str, jax.Array]:
    """{name: float32[shape]} from N(0, 0.02); {} where there is nothing to draw."""
    if 0 in shape:
        return {}
    return {name: STANDARD_DEVIATION * jax.random.normal(rng, shape)}


def see(prompts, task, layer, tokens):
    """The same prompts for all frames of all videos."""
    del task
    return tokens, layer_of(prompts, "vision_prompts", layer)


def layer_of(prompts: Prompts, name: str, layer: int) -> jax.Array | None:
    """A layer's own among prompts float[K, ...]; None where there are none, or not so deep."""
    return prompts[name][layer] if name in prompts and layer < len(prompts[name]) else None


def see_frames(see: See, prompts: Prompts, task: Task, videos: jax.Array) -> jax.Array:
    """Tokens float[B, F, S, d_v] after all layers that see each frame by itself.

    The first layer's prompts get no position but `ln_pre`, the others neither.
    """
    clip, frozen = task.clip, task.frozen
    tokens = clip.embed_image(frozen, videos)
    for layer in range(task.settings.frame_layers(clip.config.image_layers)):
        tokens, seen = see(prompts, task, layer, tokens)
        if layer == 0 and seen is not None:
            seen = clip.embed_prompts(frozen, seen)
        tokens = clip.image_block(frozen, layer, tokens, prompts=seen)
    return tokens


def encode_videos_with(see: See):
    """The video encoder of a method whose frames see `see`'s prompts, each by itself."""

    def encode_videos(prompts, task, videos):
        """The mean over frames, float32[B, d]."""
        tokens = see_frames(see, prompts, task, videos)
        return pool_frames(task.clip.image_head(task.frozen, tokens), task.settings)

    return encode_videos


def encode_texts(prompts, task, texts):
    """Texts behind SOS and the prompts, which are the same for all: a text costs its words."""
    clip, frozen, cache = task.clip, task.frozen, task.names.sos
    if "text_prompts" in prompts:
        cache = clip.see_prompts(frozen, cache, prompts["text_prompts"])
    return encode_captions(clip, frozen, cache, texts)


def text_prompts(settings):
    """Slots of the text tower that prompts take."""
    return settings.text_prompts


def check_frames(videos: jax.Array, frames: int, what: str) -> None:
    """Refuses videos of another number of frames than a table has rows.

    Raises:
        PromptError: names both numbers.
    """
    if videos.shape[1] != frames:
        raise PromptError(
            f"videos of {videos.shape[1]} frames, but {what} for {frames}: train and test with as "
            "many frames as settings.frames says"
        )


ENCODERS = Encoders(Settings, init, encode_videos_with(see), encode_texts, text_prompts)

PAPER = (
    'Huang et al., "VoP: Text-Video Co-operative Prompt Tuning for Cross-Modal Retrieval", '
    "CVPR 2023"
)
CLASSES = {name: one.but(learning_rate=1e-3) for name, one in actions.RECIPES.items()}
"""VoP tells captions apart; classes it is taught as ViLT-CLIP, with a rate of ours."""
RECIPES = {"retrieval": RETRIEVAL, **CLASSES}


def table_1(*ranks: float) -> tuple[Published]:
    """The row of a method in VoP's Table 1: MSR-VTT-9k, ViT-B/32, both directions."""
    figures = {"msrvtt_9k": ranks}
    return (Published("retrieval", figures, "VoP (CVPR 2023), Table 1", backbone="ViT-B/32"),)


RECORD = Record(
    "vop",
    "VoP",
    PAPER,
    (2022, 11, 7),
    ENCODERS,
    RECIPES,
    "both",
    published=table_1(39.6, 66.7, 77.8, 17.2, 2, 42.1, 68.8, 80.7, 12.4, 2),
)
