"""CoOp: context vectors in place of the words around the class name (Zhou et al., IJCV 2022)."""

import dataclasses

from prompt_jax.clip import normalize
from prompt_jax.methods.method import Method, Output, cosine_logits
from prompt_jax.prompts import encode_classes, init_context


@dataclasses.dataclass(frozen=True)
class Settings:
    """CoOp's settings; the class name stands at the end, the context is shared by all classes.

    Attributes:
        context_length: number of context vectors M.
        context_words: words whose embeddings the last vectors start from; "" starts at random.
    """

    context_length: int = 16
    context_words: str = ""


def init(rng, task):
    """{"context": float32[M, d_l]}."""
    s = task.settings
    context = init_context(rng, task.clip, task.frozen, s.context_length, s.context_words)
    return {"context": context}


def prepare(prompts, task):
    """The classes' text features under the context, float32[K, d], normalised."""
    features = encode_classes(task.clip, task.frozen, task.names, prompts["context"])
    return normalize(features)


def forward(prompts, prepared, task, features):
    """Cosine similarity of the image with every class."""
    del prompts
    return Output(cosine_logits(task, normalize(features), prepared)[None])


METHOD = Method(Settings, init, forward, prepare, sees="features")
