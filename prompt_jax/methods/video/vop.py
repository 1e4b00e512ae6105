"""VoP: prompts in every layer of both towers, for texts and videos (Huang et al., CVPR 2023).

Every frame is encoded as an image; each layer has its own prompts, whose outputs are dropped. The
variants differ in the prompts that frames attend to in a layer: their `layer_inputs` functions.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip.image import LayerRun
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders, VideoSettings, encode_captions, pool_frames
from prompt_jax.methods.method import Prompts, Task, Videos
from prompt_jax.methods.recipe import RETRIEVAL
from prompt_jax.methods.record import Published, Record
from prompt_jax.prompts import STANDARD_DEVIATION

Tokens = Float[Array, "batch frames tokens image_width"]
LayerPrompts = Float[Array, "*frames prompts image_width"]
"""The prompts of a layer: shared by all frames, or with axes for frames, or videos and frames."""

PER_LAYER = ("vision_prompts", "position_prompts")
"""Prompts with a first axis over layers that process frames separately."""


@flax.struct.dataclass
class Layer:
    """A layer that processes frames separately.

    Attributes:
        own: its prompts, of the arrays of `PER_LAYER`.
        first: whether it is the tower's first layer.
        prompted: whether it receives prompts.
    """

    own: dict[str, LayerPrompts]
    first: bool = flax.struct.field(pytree_node=False)
    prompted: bool = flax.struct.field(pytree_node=False)


LayerInputs = Callable[[Prompts, Task, Layer, Tokens], tuple[Tokens, LayerPrompts | None]]
"""(prompts, task, layer, tokens) -> the tokens before that layer, and its prompts or None."""


@dataclasses.dataclass(frozen=True)
class Settings(VideoSettings):
    """VoP's settings.

    Attributes:
        text_prompts: prompts per layer of the text tower; 0 for none.
        vision_prompts: prompts per layer of the image tower; 0 for none.
        depth: K, the number of layers of each tower, from the first on, that receive prompts; all
            layers if a tower has fewer.
        renormalize_video: see `VideoSettings`.
    """

    text_prompts: int = 8
    vision_prompts: int = 8
    depth: int = 12

    def frame_layers(self, layers: int) -> int:
        """Returns how many of the first layers of an image tower process frames separately."""
        return layers


def prompted_frame_layers(task: Task) -> int:
    """Counts the layers with prompts among those that process frames separately."""
    return min(task.settings.depth, task.settings.frame_layers(task.clip.config.image_layers))


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Array]:
    """Draws {"text_prompts": float32[K, n, d_l], "vision_prompts": float32[K, n, d_v]}, N(0, 0.02).

    A tower without prompts is left out.
    """
    s, sizes = task.settings, task.clip.config
    text_rng, vision_rng = jax.random.split(rng)
    text = (min(s.depth, sizes.text_layers), s.text_prompts, sizes.text_width)
    vision = (prompted_frame_layers(task), s.vision_prompts, sizes.image_width)
    return draw("text_prompts", text_rng, text) | draw("vision_prompts", vision_rng, vision)


def draw(name: str, rng: PRNGKeyArray, shape: tuple[int, ...]) -> dict[str, Array]:
    """Draws {name: float32[shape]} from N(0, 0.02); {} if the array would be empty."""
    if 0 in shape:
        return {}
    return {name: STANDARD_DEVIATION * jax.random.normal(rng, shape)}


def layer_inputs(
    prompts: Prompts, task: Task, layer: Layer, tokens: Tokens
) -> tuple[Tokens, LayerPrompts | None]:
    """Returns the same prompts for all frames of all videos."""
    del prompts, task
    return tokens, layer.own.get("vision_prompts")


def frame_layers(prompts: Prompts, task: Task) -> list[Layer]:
    """Returns the layers that process frames separately."""
    tables = {name: prompts[name] for name in PER_LAYER if name in prompts}
    return [
        Layer(
            {name: table[layer] for name, table in tables.items() if layer < len(table)},
            first=layer == 0,
            prompted=layer < task.settings.depth,
        )
        for layer in range(task.settings.frame_layers(task.clip.config.image_layers))
    ]


def run_frames(layer_inputs: LayerInputs, prompts: Prompts, task: Task, videos: Videos) -> Tokens:
    """Computes the tokens after all layers that process frames separately.

    Prompts have no position embedding; only those of the first layer pass `ln_pre`.
    """
    clip, frozen = task.clip, task.frozen

    def step(
        run: LayerRun, tokens: Tokens, layer: Layer
    ) -> Float[Array, "batch frames kept image_width"]:
        tokens, seen = layer_inputs(prompts, task, layer, tokens)
        if layer.first and seen is not None:
            seen = clip.embed_prompts(frozen, seen)
        return run(tokens, prompts=seen)

    tokens = clip.embed_image(frozen, videos)
    return clip.run_image_layers(frozen, step, tokens, frame_layers(prompts, task))


def encode_videos_with(
    layer_inputs: LayerInputs,
) -> Callable[[Prompts, Task, Array], Float[Array, "batch dim"]]:
    """Returns the video encoder of a method that processes all frames separately."""

    def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
        tokens = run_frames(layer_inputs, prompts, task, videos)
        return pool_frames(task.clip.image_head(task.frozen, tokens), task.settings)

    return encode_videos


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes texts after SOS and shared prompts, which are computed once."""
    clip, frozen, cache = task.clip, task.frozen, task.sos
    if "text_prompts" in prompts:
        cache = clip.see_prompts(frozen, cache, prompts["text_prompts"])
    return encode_captions(clip, frozen, cache, texts)


def text_prompts(settings: Settings) -> int:
    """Counts the slots of the text tower that prompts take."""
    return settings.text_prompts


def check_frames(videos: Float[Array, "batch frames ..."], frames: int, what: str) -> None:
    """Raises PromptError unless videos have as many frames as a table of prompts has rows."""
    if videos.shape[1] != frames:
        raise PromptError(
            f"videos of {videos.shape[1]} frames, but {what} for {frames}: train and test with as "
            "many frames as settings.frames says"
        )


ENCODERS = Encoders(Settings, init, encode_videos_with(layer_inputs), encode_texts, text_prompts)

PAPER = (
    'Huang et al., "VoP: Text-Video Co-operative Prompt Tuning for Cross-Modal Retrieval", '
    "CVPR 2023"
)
CLASSES = {name: one.but(learning_rate=1e-3) for name, one in actions.RECIPES.items()}
"""ViLT-CLIP's recipes for classification, with our learning rate; VoP publishes retrieval only."""
RECIPES = {"retrieval": RETRIEVAL, **CLASSES}


def table_1(*ranks: float) -> tuple[Published]:
    """Returns the row of a method in VoP's Table 1: MSR-VTT-9k, ViT-B/32, both directions."""
    figures = {"msrvtt_9k": ranks}
    return (Published("retrieval", figures, "VoP (CVPR 2023), Table 1", backbone="ViT-B/32"),)


def baseline_record(
    name: str, title: str, row: int, encoders: Encoders, rate: float, *ranks: float, **more: Any
) -> Record:
    """Returns the record of a baseline in VoP's Table 1; the learning rate is ours.

    Args:
        name, title: see `Record`.
        row: its row in the table.
        encoders: the method.
        rate: learning rate for retrieval.
        ranks: see `table_1`.
        more: further fields of the record.
    """
    return Record(
        name,
        title,
        f"as in {PAPER}",
        (2022, 11, row),
        encoders,
        {"retrieval": RETRIEVAL.but(learning_rate=rate)},
        "weights",
        published=table_1(*ranks),
        **more,
    )


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
