"""ViFi-CLIP: fine-tuning of both towers of CLIP, or one, on videos (Rasheed et al., CVPR 2023)."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import CLIPConfig
from prompt_jax.errors import unknown
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.method import Prompts, Task
from prompt_jax.methods.recipe import RETRIEVAL
from prompt_jax.methods.record import Published, Record
from prompt_jax.methods.video import tuned

USES = ("both", "image", "text")
TOKENS = ("text", "token_embedding")


@dataclasses.dataclass(frozen=True)
class Settings(actions.Settings):
    """ViFi-CLIP's settings.

    Attributes:
        use: the trainable part: "both" towers and 1/τ, the "image" tower or the "text" tower. The
            token embedding is always frozen.
        template: text of a class, "{}" for its name; "" for the data set's own.
        temperature: see `actions.Settings`; the backbone's own trains with both towers.
    """

    use: str = "both"
    template: str = "a photo of a {}."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use not in USES:
            raise unknown("settings.use", self.use, USES)
        actions.check_template(self.template)


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Copies the arrays that train, with the backbone's nesting."""
    del rng
    s = task.settings

    def chooses(path: tuple[str, ...], sizes: CLIPConfig) -> bool:
        del sizes
        if path == ("logit_scale",):
            return s.use == "both" and not s.temperature
        return s.use in ("both", path[0]) and path != TOKENS

    return tuned.copy_chosen(task, chooses)


def scale(prompts: Prompts, task: Task) -> Float[Array, ""]:
    """Returns 1/τ from the settings, or else from the fine-tuned backbone."""
    own = actions.scale if task.settings.temperature else tuned.scale
    return own(prompts, task)


ENCODERS = Encoders(
    Settings,
    init,
    tuned.encode_videos,
    tuned.encode_texts,
    scale=scale,
    template=actions.own_template,
)

# Supervised training of one tower: batch size 256, learning rate 8e-6.
_FEW_SHOT = actions.RECIPES["few_shot"].but(epochs=50, learning_rate=2e-6)
RECORD = Record(
    "vifi_clip",
    "ViFi-CLIP",
    actions.VIFI_CLIP,
    (2022, 12, 1),
    ENCODERS,
    {
        "few_shot": _FEW_SHOT,
        "base_to_novel": _FEW_SHOT.but(epochs=11),
        "supervised": actions.RECIPES["supervised"].but(batch_size=512, learning_rate=2.2e-5),
        "zero_shot_transfer": actions.RECIPES["zero_shot_transfer"].but(learning_rate=8e-6),
        "retrieval": RETRIEVAL.but(learning_rate=8e-6),
    },
    "weights",
    published=(
        actions.table_1((57.2, 62.7, 64.5, 66.8), (80.7, 85.1, 90.0, 92.7), (6.2, 7.4, 8.5, 12.4)),
        actions.table_4(
            hmdb51=(73.8, 53.3, 61.9),
            ucf101_clips=(92.9, 67.7, 78.3),
            ssv2=(16.2, 12.1, 13.9),
            kinetics400=(76.4, 61.1, 67.9),
        ),
        Published(
            "zero_shot_transfer",
            {"hmdb51": (51.3,), "ucf101_clips": (76.8,)},
            "ViFi-CLIP (CVPR 2023)",
        ),
        Published("supervised", {"kinetics400": (83.9, 96.3)}, "ViFi-CLIP (CVPR 2023)"),
    ),
    export="tuned",
    large=True,
)
