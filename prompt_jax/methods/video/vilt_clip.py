"""ViLT-CLIP: coupled prompts, whose texts stay close to those written by hand (eqs. 12 and 14)."""

import dataclasses

import jax.numpy as jnp

from prompt_jax.errors import unknown
from prompt_jax.methods import actions
from prompt_jax.methods.record import Published, Record
from prompt_jax.methods.video import vilt_multimodal

FORMS = ("one_minus_cos", "cos")


@dataclasses.dataclass(frozen=True)
class Settings(vilt_multimodal.Settings):
    """ViLT-CLIP's settings.

    Attributes:
        sg_weight: alpha, how much the scenario-guided term weighs, KgCoOp's where the paper has no
            number; 0 for none, as in its retrieval.
        sg_form: "one_minus_cos": 1 - the mean cosine of prompted and frozen texts, after KgCoOp;
            "cos": the mean itself, as eqs. (12) and (14) print it, which drives the two apart.
        template: the text of a class written by hand, "{}" for its name; "" for the data set's own.
            Of a caption it is the caption.
        prompts, depth, coupling_layer, shared_maps: see `vilt_multimodal.Settings`.
    """

    sg_weight: float = 8.0
    sg_form: str = "one_minus_cos"
    template: str = actions.PERSON

    def __post_init__(self):
        super().__post_init__()
        if self.sg_form not in FORMS:
            raise unknown("settings.sg_form", self.sg_form, FORMS)
        actions.check_template(self.template)


def plain_template(settings, template):
    """The text of a class written by hand; None where the term weighs nothing."""
    return actions.own_template(settings, template) if settings.sg_weight else None


def losses(task, texts, plain):
    """The scenario-guided term, weighted, as "scenario"."""
    s = task.settings
    if not s.sg_weight:
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
