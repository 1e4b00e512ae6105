"""Zero-shot CLIP on videos as in ViFi-CLIP: the normalized mean over frames."""

import dataclasses

from jaxtyping import Array, Float

from prompt_jax.methods import actions
from prompt_jax.methods.actions import VIFI_CLIP
from prompt_jax.methods.encoders import Encoders, frame_features, pool_frames
from prompt_jax.methods.method import Prompts, Task, Videos, no_prompts
from prompt_jax.methods.recipe import RETRIEVAL
from prompt_jax.methods.record import Record
from prompt_jax.methods.video import zero_shot


@dataclasses.dataclass(frozen=True)
class Settings(actions.Settings):
    """Zero-shot CLIP's settings.

    Attributes:
        template: text of a class, "{}" for its name; "" for the data set's own. Published:
            ViLT-CLIP's, the default; "a photo of a {}."; "{}" alone (ViFi-CLIP's zero-shot CLIP).
    """

    template: str = actions.PERSON

    def __post_init__(self) -> None:
        super().__post_init__()
        actions.check_template(self.template)


def encode_videos(
    prompts: Prompts, task: Task, videos: Videos | Float[Array, "batch frames dim"]
) -> Float[Array, "batch dim"]:
    """Averages the features of frames."""
    del prompts
    return pool_frames(frame_features(task, videos), task.settings)


ENCODERS = Encoders(
    Settings,
    no_prompts,
    encode_videos,
    zero_shot.encode_texts,
    scale=actions.scale,
    template=actions.own_template,
    input="frames",
)

RECORD = Record(
    "clip_video",
    "zero-shot CLIP on videos",
    f"as in {VIFI_CLIP}",
    (2021, 2, 1),
    ENCODERS,
    {**actions.RECIPES, "retrieval": RETRIEVAL},  # nothing trains
    "features",
    published=zero_shot.PUBLISHED,
    export="frozen",
)
