"""ViFi-CLIP's prompts in both towers (Rasheed et al., CVPR 2023, section 3.3).

The published figures start from a CLIP that was fine-tuned on Kinetics-400, not from CLIP.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import tokenizer
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import encode_captions, put_after_sos
from prompt_jax.methods.method import Prompts, Task
from prompt_jax.methods.recipe import RETRIEVAL
from prompt_jax.methods.record import Record
from prompt_jax.methods.video import vilt_independent
from prompt_jax.prompts import init_context, words_after


@dataclasses.dataclass(frozen=True)
class Settings(vilt_independent.Settings):
    """The settings of ViFi-CLIP's prompts.

    Attributes:
        context_words: words before the class name, used if they have at least as many tokens as
            there are text prompts. The first of them initialize the prompts of the first layer,
            which replace them; the others remain as fixed tokens. "" draws all at random.
        text_prompts, vision_prompts, text_depth, vision_depth: see `vilt_independent.Settings`.
    """

    context_words: str = "a photo of a"


def words_of(settings: Settings) -> str:
    """Returns the context words, or "" if all prompts are drawn at random."""
    words = settings.context_words
    return words if settings.text_prompts <= len(tokenizer.encode(words)) else ""


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Float[Array, "layers prompts width"]]:
    """Draws independent prompts, those of the first text layer from the context words, if any."""
    s, prompts = task.settings, vilt_independent.init(rng, task)
    if "text_prompts" in prompts and words_of(s):
        words = init_context(rng, task.clip, task.frozen, s.text_prompts, words_of(s), cut=True)
        deep = prompts["text_prompts"][1:]
        prompts["text_prompts"] = jnp.concatenate([words[None], deep])
    return prompts


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes texts after SOS, the prompts and the remaining context words."""
    clip, frozen = task.clip, task.frozen
    slots = prompts.get("text_prompts", jnp.zeros((1, 0, clip.config.text_width)))
    words = words_after(clip, frozen, slots.shape[1], words_of(task.settings))
    cache = put_after_sos(task, jnp.concatenate([slots[0], words]), slots[1:])
    return encode_captions(clip, frozen, cache, texts)


def text_prompts(settings: Settings) -> int:
    """Counts the slots of the text tower that prompts and words take."""
    return max(settings.text_prompts, len(tokenizer.encode(words_of(settings))))


ENCODERS = vilt_independent.ENCODERS._replace(
    Settings=Settings, init=init, encode_texts=encode_texts, text_prompts=text_prompts
)

_NINE = {"text_prompts": 16, "vision_prompts": 16, "text_depth": 9, "vision_depth": 9}
RECORD = Record(
    "vifi_vl_prompting",
    "ViFi-CLIP's prompts",
    actions.VIFI_CLIP,
    (2022, 12, 2),
    ENCODERS,
    {
        **actions.RECIPES,
        "few_shot": actions.RECIPES["few_shot"].but(epochs=50),
        "base_to_novel": actions.RECIPES["base_to_novel"].but(epochs=11, settings=_NINE),
        "retrieval": RETRIEVAL.but(
            learning_rate=8e-3, settings={"text_prompts": 6, "vision_prompts": 6}
        ),
    },
    "both",
)
