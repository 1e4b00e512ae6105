"""ViFi-CLIP: both towers of CLIP, or one, fine-tuned on videos (Rasheed et al., CVPR 2023)."""

import dataclasses

from prompt_jax.errors import unknown
from prompt_jax.methods import actions, tuned
from prompt_jax.methods.encoders import Encoders

USES = ("both", "image", "text")
TOKENS = ("text", "token_embedding")


@dataclasses.dataclass(frozen=True)
class Settings(actions.Settings):
    """ViFi-CLIP's settings.

    Attributes:
        use: what trains: "both" towers and 1/τ, the "image" tower or the "text" tower alone. The
            token embedding never does.
        template: text of a class, "{}" for its name; "" for the data set's own.
        temperature: see `actions.Settings`; the backbone's own trains with both towers.
    """

    use: str = "both"
    template: str = "a photo of a {}."

    def __post_init__(self):
        super().__post_init__()
        if self.use not in USES:
            raise unknown("settings.use", self.use, USES)
        actions.check_template(self.template)


def init(rng, task):
    """Copies of the arrays that train, in the backbone's own nesting."""
    del rng
    s = task.settings

    def chooses(path, sizes):
        del sizes
        if path == ("logit_scale",):
            return s.use == "both" and not s.temperature
        return s.use in ("both", path[0]) and path != TOKENS

    return tuned.copy_chosen(task, chooses)


def scale(prompts, task):
    """1/τ, of the settings or else the backbone's as it is trained."""
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
