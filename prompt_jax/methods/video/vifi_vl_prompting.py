"""ViFi-CLIP's prompts in both towers (Rasheed et al., CVPR 2023, section 3.3).

The published figures start from a CLIP that was fine-tuned on Kinetics-400 first, not from CLIP.
"""

import dataclasses

import jax.numpy as jnp

from prompt_jax.clip import tokenizer
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import encode_captions, put_behind_sos
from prompt_jax.methods.recipe import RETRIEVAL
from prompt_jax.methods.record import Record
from prompt_jax.methods.video import vilt_independent
from prompt_jax.prompts import init_context, words_behind


@dataclasses.dataclass(frozen=True)
class Settings(vilt_independent.Settings):
    """ViFi-CLIP's settings of prompts.

    Attributes:
        context_words: words in front of the class name, where there are no more text prompts than
            tokens of these: then the first layer's start from the first of them and take their
            place, the others stay behind as fixed tokens. "" starts all at random.
        text_prompts, vision_prompts, text_depth, vision_depth: see `vilt_independent.Settings`.
    """

    context_words: str = "a photo of a"


def words_of(settings: Settings) -> str:
    """The words that text prompts start from or leave standing; "" where all are at random."""
    words = settings.context_words
    return words if settings.text_prompts <= len(tokenizer.encode(words)) else ""


def init(rng, task):
    """As independent prompts; the first layer's of the text tower from the words, if any."""
    s, prompts = task.settings, vilt_independent.init(rng, task)
    if "text_prompts" in prompts and words_of(s):
        words = init_context(rng, task.clip, task.frozen, s.text_prompts, words_of(s), cut=True)
        deep = prompts["text_prompts"][1:]
        prompts["text_prompts"] = jnp.concatenate([words[None], deep])
    return prompts


def encode_texts(prompts, task, texts):
    """Texts behind SOS, the prompts, and what of the words they leave."""
    clip, frozen = task.clip, task.frozen
    slots = prompts.get("text_prompts", jnp.zeros((1, 0, clip.config.text_width)))
    words = words_behind(clip, frozen, slots.shape[1], words_of(task.settings))
    cache = put_behind_sos(task, jnp.concatenate([slots[0], words]), slots[1:])
    return encode_captions(clip, frozen, cache, texts)


def text_prompts(settings):
    """Slots of the text tower that prompts and words take."""
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
