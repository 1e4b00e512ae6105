"""Prompt Switch: prompts that change places between the frames of a video (Deng et al., ICCV 2023).

Every frame has as many prompts as there are frames. Before each attention, prompt j of frame i and
prompt i of frame j change places, so that frames exchange information through them. All of CLIP
trains, and beside it a captioner that is not used for predictions.
"""

import dataclasses
import functools
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import Frozen, tokenizer
from prompt_jax.clip.image import LayerRun
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError, unknown
from prompt_jax.heads import captioner
from prompt_jax.heads.attention import attend_to, init_attention
from prompt_jax.methods.encoders import Captioning, Encoders, VideoSettings, pool_frames
from prompt_jax.methods.method import Prompts, Task, Videos
from prompt_jax.methods.recipe import RETRIEVAL, average_steps
from prompt_jax.methods.record import Record
from prompt_jax.methods.video import tuned
from prompt_jax.prompts import STANDARD_DEVIATION

Tokens = Float[Array, "batch frames tokens image_width"]
Features = Float[Array, "batch frames dim"]

ATTENTION = ("clip", "chunk")
BACKBONE = ("image", "text", "logit_scale")
FREQUENT = "in on of to about this that a an the and there here is are . ,"
"""Words that count less in the captioner's loss; the begin and end of a caption count as them."""


@dataclasses.dataclass(frozen=True)
class Settings(VideoSettings):
    """The settings of Prompt Switch.

    Attributes:
        prompts: n, prompts per frame. Videos have a multiple of n frames: each n consecutive ones,
            a chunk, exchange their prompts, and all chunks start from the same prompts.
        chunk_attention: the prompts that the attention behind the last layer sees: "clip", those of
            the whole video; "chunk", those of a frame's chunk. The published code sees a chunk when
            it is tested with more frames than it was trained with.
        captioner: whether a captioner is trained beside. Only in training on captions: with class
            names there is none.
        caption_layers: its layers.
        caption_weight: the factor of its loss.
        frequent_weight: the weight of frequent words in its loss.
        backbone_rate: factor of CLIP's learning rate.
        attention_rate: factor of the learning rate of the attention behind the last layer, which
            the published code trains like CLIP.
        average_decay: the share that every step keeps of the average of all parameters that is the
            result; 0: the result are the last parameters.
        pooling, renormalize_video: see `VideoSettings`.
    """

    prompts: int = 6
    chunk_attention: str = "clip"
    captioner: bool = True
    caption_layers: int = 2
    caption_weight: float = 0.5
    frequent_weight: float = 0.25
    backbone_rate: float = 0.1
    attention_rate: float = 0.1
    average_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk_attention not in ATTENTION:
            raise unknown("settings.chunk_attention", self.chunk_attention, ATTENTION)
        for field in ("prompts", "caption_layers"):
            if getattr(self, field) < 1:
                raise PromptError(f"settings.{field}={getattr(self, field)} must be at least 1")
        if not self.average_decay < 1:
            raise PromptError(
                f"settings.average_decay={self.average_decay} must be below 1; 0 averages nothing"
            )
        if self.captioner and not self.frequent_weight:
            raise PromptError(
                "settings.frequent_weight=0 leaves captions of frequent words without a loss; use "
                "a number above 0, or settings.captioner=False"
            )


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Returns a copy of CLIP with the new parts.

    "image", "text" and "logit_scale" as in the backbone; "prompt_cube" float32[n, n, d_v], prompt j
    of frame i in a chunk, from N(0, 0.02 / √d_v); "attention" behind the last layer, whose output
    is zero at first; and "captioner", see `heads.captioner`, if the task has captions.
    """
    s, sizes = task.settings, task.clip.config
    cube_rng, attention_rng, caption_rng = jax.random.split(rng, 3)
    width = sizes.image_width
    attention = init_attention(attention_rng, width, width)
    attention["out"] = jax.tree.map(jnp.zeros_like, attention["out"])
    deviation = STANDARD_DEVIATION / math.sqrt(width)
    prompts = tuned.copy_chosen(task, tuned.is_any) | {
        "prompt_cube": deviation * jax.random.normal(cube_rng, (s.prompts, s.prompts, width)),
        "attention": attention,
    }
    if s.captioner and not len(task.trained):
        prompts["captioner"] = captioner.init(
            caption_rng, task.clip, backbone_of(prompts), s.caption_layers
        )
    return prompts


def backbone_of(prompts: Prompts) -> Frozen:
    """Returns CLIP's parameters among the trained ones."""
    return {name: prompts[name] for name in BACKBONE}


def trains(prompts: Prompts, settings: Settings) -> Any:
    """Returns the factors of the learning rate."""
    rates = dict.fromkeys(BACKBONE, settings.backbone_rate)
    rates["attention"] = settings.attention_rate
    return jax.tree_util.tree_map_with_path(lambda path, _: rates.get(path[0].key, 1.0), prompts)


def optimizer(
    rule: optax.GradientTransformation, settings: Settings, epochs: int, steps_per_epoch: int
) -> optax.GradientTransformation:
    """Bounds 1/τ to at most 100, and averages the parameters if the settings say so."""
    rule = tuned.bound_scale(rule, settings, epochs, steps_per_epoch)
    return average_steps(rule, settings.average_decay) if settings.average_decay else rule


@flax.struct.dataclass
class Layer:
    """A layer of the image tower.

    Attributes:
        queries: number of leading tokens that are read of its output; None for all.
    """

    queries: int | None = flax.struct.field(pytree_node=False, default=None)


def switch(tokens: Tokens, number: int) -> Tokens:
    """Lets prompt j of frame i and prompt i of frame j change places, in each chunk of n frames.

    Args:
        tokens: class token, n prompts, patches.
        number: n.
    """
    first, slots, patches = jnp.split(tokens, (1, 1 + number), axis=2)
    batch, frames, _, width = slots.shape
    chunks = slots.reshape(batch, frames // number, number, number, width)
    slots = jnp.swapaxes(chunks, 2, 3).reshape(slots.shape)
    return jnp.concatenate([first, slots, patches], axis=2)


def run_layers(prompts: Prompts, task: Task, videos: Videos) -> Tokens:
    """Returns the class token and the n prompts of every frame after the last layer.

    Prompts have no position embedding and do not pass `ln_pre`.
    """
    clip, backbone, number = task.clip, backbone_of(prompts), task.settings.prompts
    tokens = clip.embed_image(backbone, videos)
    frames = videos.shape[1]
    slots = jnp.tile(prompts["prompt_cube"], (frames // number, 1, 1))
    slots = jnp.broadcast_to(slots, (len(videos), *slots.shape))
    tokens = jnp.concatenate([tokens[:, :, :1], slots, tokens[:, :, 1:]], axis=2)

    def step(
        run: LayerRun, tokens: Tokens, layer: Layer
    ) -> Float[Array, "batch frames kept image_width"]:
        return run(tokens, layer.queries, attending=functools.partial(switch, number=number))

    layers = [Layer()] * (clip.config.image_layers - 1) + [Layer(1 + number)]
    return clip.run_image_layers(backbone, step, tokens, layers)


def encode_frames(prompts: Prompts, task: Task, videos: Videos) -> Features:
    """Returns the features of frames, not normalized.

    Raises:
        PromptError: the number of frames is not a multiple of the prompts per frame.
    """
    s, clip = task.settings, task.clip
    batch, frames = videos.shape[:2]
    if frames % s.prompts:
        raise PromptError(
            f"videos of {frames} frames, but settings.prompts={s.prompts}: use a multiple of "
            f"{s.prompts} frames, or as many prompts as frames"
        )
    tokens = run_layers(prompts, task, videos)
    together = frames if s.chunk_attention == "clip" else s.prompts
    first = tokens[:, :, 0].reshape(batch, -1, together, tokens.shape[-1])
    slots = tokens[:, :, 1:].reshape(batch, -1, together * s.prompts, tokens.shape[-1])
    first += attend_to(clip, prompts["attention"], clip.config.image_heads, first, slots)
    first = first.reshape(batch, frames, 1, -1)
    return clip.image_head(backbone_of(prompts), first)


def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
    """Returns the mean of the normalized features of frames."""
    return pool_frames(encode_frames(prompts, task, videos), task.settings)


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes texts by the fine-tuned text tower."""
    return tuned.encode_plain_texts(task, backbone_of(prompts), texts)


def word_weights(settings: Settings, vocabulary: int) -> Float[Array, " vocabulary"]:
    """Returns the weight of each token in the captioner's loss."""
    ids = {number for word in FREQUENT.split() for number in tokenizer.encode(word)}
    frequent = jnp.asarray(sorted(ids | {tokenizer.SOS, tokenizer.EOT}))
    return jnp.ones(vocabulary).at[frequent].set(settings.frequent_weight)


def losses(
    prompts: Prompts, task: Task, frames: Features, captions: PackedTokens
) -> dict[str, Float[Array, ""]]:
    """Returns the captioner's loss: it sees the features of frames, not normalized."""
    if "captioner" not in prompts:
        return {}
    s, backbone = task.settings, backbone_of(prompts)
    logits = captioner.predict(prompts["captioner"], task.clip, backbone, frames, captions)
    weights = word_weights(s, task.clip.config.vocab_size)
    return {"captions": s.caption_weight * captioner.loss(logits, captions, weights)}


def frame_groups(settings: Settings) -> int:
    """Returns the frames of a chunk, of which videos have a multiple."""
    return settings.prompts


ENCODERS = Encoders(
    Settings,
    init,
    encode_videos,
    encode_texts,
    scale=tuned.scale,
    trains=trains,
    optimizer=optimizer,
    copies_weights=True,
    frame_groups=frame_groups,
    captioning=Captioning(encode_frames, losses),
)

RECORD = Record(
    "prompt_switch",
    "Prompt Switch",
    'Deng et al., "Prompt Switch: Efficient CLIP Adaptation for Text-Video Retrieval", ICCV 2023',
    (2023, 8),
    ENCODERS,
    {
        "retrieval": RETRIEVAL.but(
            learning_rate=1e-5,
            data={
                "flip": False,  # embedded captions say left and right
                "frames": 6,
                "frame_rule": "random",
                "test_frames": 12,
                "test_passes": 2,
            },
        )
    },
    "weights",
    large=True,
)
