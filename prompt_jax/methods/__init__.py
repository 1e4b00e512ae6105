"""The table of methods. A new method is one file and one line here."""

from prompt_jax.errors import unknown
from prompt_jax.methods import (
    clip_adapter,
    cocoop,
    coop,
    gda,
    ivlp,
    kgcoop,
    maple,
    pro_mpt,
    promptsrc,
    tip_adapter,
    vpt,
    zero_shot,
)
from prompt_jax.methods.method import (
    UNSEEN,
    Method,
    Output,
    Prompts,
    Task,
    look,
    make_task,
)

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

__all__ = [
    "METHODS",
    "UNSEEN",
    "Method",
    "Output",
    "Prompts",
    "Task",
    "get",
    "look",
    "make_task",
]


def get(name: str) -> Method:
    """The method of that name.

    Raises:
        PromptError: there is none; with close matches and the whole list.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
