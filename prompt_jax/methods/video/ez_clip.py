"""EZ-CLIP: temporal prompts made from all frames, and adapters in both towers (Ahmad et al., TMLR
2025).

Published training also uses dropout and stochastic depth of 0.1, which are left out here.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prompt_jax.clip import Frozen
from prompt_jax.clip.image import LayerRun
from prompt_jax.clip.layers import merge
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders, pool_frames
from prompt_jax.methods.method import Output, Prompts, Task, Videos
from prompt_jax.methods.objectives import compare, contrast_classes
from prompt_jax.methods.record import Published, Record
from prompt_jax.methods.video.tuned import encode_plain_texts
from prompt_jax.methods.video.vop import check_frames
from prompt_jax.prompts import STANDARD_DEVIATION, init_linear
from prompt_jax.text.class_texts import CLASSES

Tokens = Float[Array, "batch frames tokens image_width"]
Frames = Float[Array, "batch frames dim"]


@dataclasses.dataclass(frozen=True)
class Settings(actions.Settings):
    """EZ-CLIP's settings.

    Attributes:
        frames: F, the number of frames of every video; each has a temporal prompt in each layer.
        reduction: an adapter's hidden width is the tower's width divided by this.
        motion_weight: weight of the term that rewards features that change over frames.
        pooling, renormalize_video: see `VideoSettings`.
        temperature: see `actions.Settings`.
    """

    frames: int = 8
    reduction: int = 4
    motion_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("frames", "reduction"):
            if getattr(self, field) < 1:
                raise PromptError(f"settings.{field}={getattr(self, field)} must be at least 1")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws temporal prompts and adapters.

    {"temporal_prompts": float32[L, F, d_v] from N(0, 0.02), "image" and "text": {"down" and "up": a
    linear layer per layer of the tower, "kernel" float32[L, in, out], "bias" float32[L, out]}}.
    Those of "up" are 0, so that the text tower starts as CLIP's; those of "down" are as PyTorch's.
    """
    c, s = task.clip.config, task.settings
    prompt_rng, *rngs = jax.random.split(rng, 3)
    shape = (c.image_layers, s.frames, c.image_width)
    temporal = STANDARD_DEVIATION * jax.random.normal(prompt_rng, shape)
    prompts: dict[str, Any] = {"temporal_prompts": temporal}
    sizes = {"image": (c.image_layers, c.image_width), "text": (c.text_layers, c.text_width)}
    for (tower, (layers, width)), each in zip(sizes.items(), rngs, strict=True):
        hidden = max(1, width // s.reduction)

        def draw(rng: PRNGKeyArray, width: int = width, hidden: int = hidden) -> dict[str, Array]:
            return init_linear(rng, width, hidden)

        prompts[tower] = {
            "down": jax.vmap(draw)(jax.random.split(each, layers)),
            "up": {
                "kernel": jnp.zeros((layers, hidden, width)),
                "bias": jnp.zeros((layers, width)),
            },
        }
    return prompts


def add_adapters(prompts: Prompts, task: Task, tower: str) -> Frozen:
    """Returns the backbone with adapters in front of the MLPs of a tower."""
    layers = {
        f"block_{layer}": {
            "before_mlp": jax.tree.map(lambda x, layer=layer: x[layer], prompts[tower])
        }
        for layer in range(len(prompts[tower]["up"]["bias"]))
    }
    return merge(task.frozen, {tower: layers})


def encode_frames(prompts: Prompts, task: Task, videos: Videos) -> Frames:
    """Encodes frames, which see each other through the temporal prompts; not normalized.

    Before every layer, a frame's prompt is added to the mean of the frame's tokens. The layer's own
    attention mixes the results over the frames; each is attended to by its frame in this layer.
    """
    clip, frozen = task.clip, add_adapters(prompts, task, "image")
    table = prompts["temporal_prompts"]
    check_frames(videos, table.shape[1], "there are temporal prompts")

    def step(
        run: LayerRun, tokens: Tokens, own: Float[Array, "frames image_width"]
    ) -> Float[Array, "batch frames kept image_width"]:
        mixed = run.self_attention(jnp.mean(tokens, axis=-2) + own)
        return run(tokens, prompts=mixed[..., None, :])

    tokens = clip.embed_image(frozen, videos)
    return clip.image_head(frozen, clip.run_image_layers(frozen, step, tokens, list(table)))


def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
    """Averages the features of frames."""
    return pool_frames(encode_frames(prompts, task, videos), task.settings)


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes texts by the text tower with adapters."""
    return encode_plain_texts(task, add_adapters(prompts, task, "text"), texts)


def motion_loss(frames: Frames) -> Float[Array, ""]:
    """Returns 1 / (1 + C + V) of frame features that are not normalized.

    C is the mean absolute central difference between frames, whose ends repeat; V the mean variance
    over frames, with divisor F - 1 (0 for a single frame).
    """
    repeated = jnp.concatenate([frames[:, :1], frames, frames[:, -1:]], axis=1)
    change = jnp.mean(jnp.abs(repeated[:, 2:] - repeated[:, :-2]) / 2)
    variance = jnp.mean(jnp.var(frames, axis=1, ddof=1)) if frames.shape[1] > 1 else 0.0
    return 1 / (1 + change + variance)


def learn(
    prompts: Prompts,
    prepared: Float[Array, "classes dim"],
    task: Task,
    videos: Videos,
    labels: Int[Array, " batch"],
    rng: PRNGKeyArray,
) -> Output:
    """Computes the loss: videos against the texts of their classes, both ways, and motion."""
    del rng
    frames = encode_frames(prompts, task, videos)
    scale = actions.scale(prompts, task)
    logits = compare(task, scale, pool_frames(frames, task.settings), prepared)
    losses = {"pairs": contrast_classes(logits[:, labels], labels)}
    if task.settings.motion_weight:
        losses["motion"] = task.settings.motion_weight * motion_loss(frames)
    return Output(logits[None], weights=(0.0,), losses=losses)


ENCODERS = Encoders(
    Settings,
    init,
    encode_videos,
    encode_texts,
    scale=actions.scale,
    learn=learn,
    texts=CLASSES,
)

# The rate and epochs are those of Kinetics-400; epochs of the two other protocols are ours, and so
# is the augmentation.
_TRAINED = actions.RECIPES["supervised"].but(
    epochs=150,
    batch_size=70,
    learning_rate=1e-4,
    schedule="warmup_cosine",
    warmup_epochs=5,
    weight_decay=0.2,
    data={"frames": 8, "augment": "vifi"},
)
_README = "EZ-CLIP's repository (2f4d622), README"
RECORD = Record(
    "ez_clip",
    "EZ-CLIP",
    'Ahmad et al., "T2L: Efficient Zero-Shot Action Recognition with Temporal Token Learning", '
    "TMLR 2025",
    (2023, 12),
    ENCODERS,
    {
        "zero_shot_transfer": _TRAINED,
        "base_to_novel": _TRAINED.but(epochs=50),
        "few_shot": _TRAINED.but(epochs=50),
        "supervised": _TRAINED,
    },
    "both",
    published=(
        Published(
            "zero_shot_transfer",
            {"hmdb51": (52.9,), "ucf101_clips": (79.1,), "kinetics600": (70.1,)},
            _README,
        ),
        Published(
            "base_to_novel",
            {
                "kinetics400": (73.1, 60.6, 66.3),
                "hmdb51": (77.0, 58.2, 66.3),
                "ucf101_clips": (94.4, 77.9, 85.4),
                "ssv2": (16.6, 13.3, 14.8),
            },
            _README,
        ),
    ),
)
