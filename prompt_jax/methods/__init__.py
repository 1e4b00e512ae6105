"""The tables of methods. A new method is one file and one line here, or of a module elsewhere."""

from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods import (
    a5,
    adapters,
    clip_adapter,
    clip_video,
    cocoop,
    coop,
    encoders,
    gda,
    ivlp,
    kgcoop,
    maple,
    outside,
    pro_mpt,
    promptsrc,
    tip_adapter,
    tuned,
    vifi_clip,
    vifi_vl_prompting,
    vilt_clip,
    vilt_independent,
    vilt_multimodal,
    vop,
    vop_c,
    vop_f,
    vop_p,
    vpt,
    zero_shot,
)
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.frames import average_frames, tower_for
from prompt_jax.methods.method import (
    Method,
    Output,
    Pairs,
    Prompts,
    Task,
    check_bounds,
    index_trained,
    look,
    make_task,
)
from prompt_jax.methods.objectives import recognize, retrieve
from prompt_jax.text.class_names import UNSEEN

METHODS: dict[str, Method] = {
    "zero_shot": zero_shot.METHOD,
    "coop": coop.METHOD,
    "cocoop": cocoop.METHOD,
    "kgcoop": kgcoop.METHOD,
    "promptsrc": promptsrc.METHOD,
    "clip_adapter": clip_adapter.METHOD,
    "tip_adapter": tip_adapter.METHOD,
    "tip_adapter_f": tip_adapter.METHOD_F,
    "gda": gda.METHOD,
    "vpt": vpt.METHOD,
    "ivlp": ivlp.METHOD,
    "maple": maple.METHOD,
    "pro_mpt": pro_mpt.METHOD,
}
"""Methods of images."""

ENCODERS: dict[str, Encoders] = {
    "zero_shot": encoders.ZERO_SHOT,
    "vop": vop.ENCODERS,
    "vop_p": vop_p.ENCODERS,
    "vop_c": vop_c.ENCODERS,
    "vop_f": vop_f.ENCODERS,
    "vop_f_p": vop_f.ENCODERS_P,
    "vop_f_c": vop_f.ENCODERS_C,
    "full": tuned.FULL,
    "bias": tuned.BIAS,
    "proj": tuned.PROJ,
    "partial": tuned.PARTIAL,
    "adapter_attn": adapters.ATTENTION,
    "adapter_ffn": adapters.MLP,
    "clip_video": clip_video.ENCODERS,
    "vilt_independent": vilt_independent.ENCODERS,
    "vilt_multimodal": vilt_multimodal.ENCODERS,
    "vilt_clip": vilt_clip.ENCODERS,
    "vifi_clip": vifi_clip.ENCODERS,
    "vifi_vl_prompting": vifi_vl_prompting.ENCODERS,
    "a5": a5.ENCODERS,
}
"""Methods of videos and texts, without what they are trained for: see `objectives`."""

__all__ = [
    "ENCODERS",
    "METHODS",
    "UNSEEN",
    "Encoders",
    "Method",
    "Output",
    "Pairs",
    "Prompts",
    "Task",
    "average_frames",
    "check_bounds",
    "find",
    "get",
    "get_encoders",
    "index_trained",
    "look",
    "make_task",
    "of_images",
    "of_texts",
    "outside",
    "recognize",
    "retrieve",
    "tower_for",
]


def get(name: str) -> Method:
    """The method of images of that name.

    Raises:
        PromptError: there is none, with close matches and the whole list; or it is one from
            outside that cannot be had, see `outside.find`.
    """
    if found := of_images(name):
        return found
    why_not = "works on videos and texts, not on single images"
    raise _absence(name, METHODS, ENCODERS, why_not)


def get_encoders(name: str) -> Encoders:
    """The method of videos and texts of that name.

    Raises:
        PromptError: see `get`.
    """
    if found := of_texts(name):
        return found
    why_not = "tells classes apart, and cannot encode any other text"
    raise _absence(name, ENCODERS, METHODS, why_not)


def find(name: str, kind: str, task: str = "classes") -> Method:
    """The method of that name for "images" or "videos", as it tells classes apart.

    One that was trained to tell "captions" apart takes classes for captions.

    Raises:
        PromptError: there is none.
    """
    if kind == "videos" and (task == "captions" or not of_images(name)):
        return recognize(get_encoders(name))
    return get(name)


def of_images(name: str) -> Method | None:
    """As `get`, None where there is no method of images of that name."""
    if not outside.is_outside(name):
        return METHODS.get(name)
    found = outside.find(name)
    return found if isinstance(found, Method) else None


def of_texts(name: str) -> Encoders | None:
    """As `get_encoders`, None where there is no method of videos and texts of that name."""
    if not outside.is_outside(name):
        return ENCODERS.get(name)
    found = outside.find(name)
    return found if isinstance(found, Encoders) else None


def _absence(name, table, others, why_not):
    if name in others or outside.is_outside(name):
        return PromptError(f"method {name!r} {why_not}. Use one of {', '.join(sorted(table))}")
    return unknown("method", name, table)
