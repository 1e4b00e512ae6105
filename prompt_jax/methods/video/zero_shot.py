"""Zero-shot CLIP on videos and texts: the mean over the frames, without training."""

from jaxtyping import Array, Float

from prompt_jax.clip.packing import PackedTokens
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders, VideoSettings, encode_captions, encode_frames
from prompt_jax.methods.images.zero_shot import PAPER
from prompt_jax.methods.method import Prompts, Task, Videos, no_prompts
from prompt_jax.methods.recipe import RETRIEVAL
from prompt_jax.methods.record import Published, Record


def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
    """Encodes videos with frozen CLIP."""
    del prompts
    return encode_frames(task, task.frozen, videos)


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes texts with frozen CLIP."""
    del prompts
    return encode_captions(task.clip, task.frozen, task.sos, texts)


ENCODERS = Encoders(VideoSettings, no_prompts, encode_videos, encode_texts)

PUBLISHED = (
    actions.table_1((41.9,) * 4, (63.6,) * 4, (2.7,) * 4),
    actions.table_4(
        hmdb51=(53.3, 46.8, 49.8),
        ucf101_clips=(78.5, 63.6, 70.3),
        ssv2=(4.9, 5.3, 5.1),
        kinetics400=(62.3, 53.4, 57.5),
    ),
    actions.table_3("hmdb51", 40.8, 0.3),
    actions.table_3("ucf101_clips", 63.2, 0.2),
    Published("supervised", {"kinetics400": (40.10,)}, f"{actions.VILT}, Table 6"),
    actions.tables_5_and_7(msrvtt_9k=(31.2, 53.7, 22.3)),
)
VOP_S = Published(
    "retrieval",
    {"msrvtt_9k": (31.5, 52.8, 63.6, 42.9, 5, *[None] * 5)},
    "VoP (CVPR 2023), prompts in neither tower",
    backbone="ViT-B/32",
)
RECORD = Record(
    "zero_shot",
    "zero-shot CLIP",
    PAPER,
    (2021, 2),
    ENCODERS,
    {"retrieval": RETRIEVAL},  # nothing trains
    "features",
    published=(*PUBLISHED, VOP_S),
    sees_in_training="nothing",
    export="frozen",
)
