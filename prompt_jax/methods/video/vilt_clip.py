"""ViLT-CLIP: coupled prompts with texts close to handwritten ones (eqs. 12 and 14)."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from prompt_jax.errors import unknown
from prompt_jax.methods import actions
from prompt_jax.methods.method import Task
from prompt_jax.methods.record import Published, Record
from prompt_jax.methods.video import vilt_multimodal

FORMS = ("one_minus_cos", "cos")


@dataclasses.dataclass(frozen=True)
class Settings(vilt_multimodal.Settings):
    """ViLT-CLIP's settings.

    Attributes:
        sg_weight: alpha, the weight of the scenario-guided term. The paper gives no number; the
            default is KgCoOp's. 0 removes the term, as in the paper's retrieval.
        sg_form: "one_minus_cos": 1 - the mean cosine of prompted and frozen texts, as in KgCoOp;
            "cos": the mean cosine, as printed in eqs. (12) and (14), which separates the two.
        template: the handwritten text of a class, "{}" for its name; "" for the data set's own. For
            a caption it is the caption.
        prompts, depth, coupling_layer, shared_maps: see `vilt_multimodal.Settings`.
    """

    sg_weight: float = 8.0
    sg_form: str = "one_minus_cos"
    template: str = actions.PERSON

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sg_form not in FORMS:
            raise unknown("settings.sg_form", self.sg_form, FORMS)
        actions.check_template(self.template)


def plain_template(settings: Settings, template: str) -> str | None:
    """Returns the handwritten text of a class, or None if the term has no weight."""
    return actions.own_template(settings, template) if settings.sg_weight else None


def losses(
    task: Task, texts: Float[Array, "texts dim"], plain: Float[Array, "texts dim"] | None
) -> dict[str, Float[Array, ""]]:
    """Computes the weighted scenario-guided term, "scenario"."""
    s = task.settings
    if plain is None:
        return {}
    cosine = jnp.mean(jnp.sum(texts * plain, axis=-1))
    return {"scenario": s.sg_weight * (1 - cosine if s.sg_form == "one_minus_cos" else cosine)}


ENCODERS = vilt_multimodal.ENCODERS._replace(
    Settings=Settings, plain_template=plain_template, losses=losses
)

RECORD = Record(
    "vilt_clip",
    "ViLT-CLIP",
    actions.VILT_CLIP,
    (2024, 3, 3),
    ENCODERS,
    {
        **vilt_multimodal.RECIPES,
        "retrieval": actions.RETRIEVAL.but(settings={"prompts": 6, "sg_weight": 0.0}),
    },
    "both",
    published=(
        actions.table_1((60.6, 61.9, 66.9, 69.6), (85.3, 90.0, 91.3, 93.8), (7.8, 9.4, 10.3, 13.2)),
        actions.table_4(
            hmdb51=(76.7, 57.5, 65.7),
            ucf101_clips=(95.2, 70.5, 81.0),
            ssv2=(17.3, 12.8, 14.7),
            kinetics400=(77.4, 63.0, 69.5),
        ),
        actions.table_3("hmdb51", 45.3, 0.9),
        actions.table_3("ucf101_clips", 73.6, 1.1),
        Published("supervised", {"kinetics400": (77.6, 94.5)}, "ViLT-CLIP (AAAI 2024), Table 2"),
        vilt_multimodal.PUBLISHED_RETRIEVAL,
    ),
    export="vilt_multimodal",
)
