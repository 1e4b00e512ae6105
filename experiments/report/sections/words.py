"""Which words learned context vectors are nearest to, as CoOp's table of them (IJCV 2022)."""

from collections.abc import Sequence

import numpy as np

from experiments.report.blocks import Section, Table, Text
from experiments.setup.preparation import Prepared
from prompt_jax.clip import tokenizer
from prompt_jax.methods import Prompts

NEAREST = 5  # words of a vector
CLASSES = 5  # whose contexts are shown, where each class has one

_DEEP = ("ivlp", "maple", "promptsrc")
_SHIFTED = {
    "cocoop": "The meta-net adds something of each image to these vectors.",
    "pro_mpt": "The text generator adds something of each image to these vectors.",
}


def section(run: Prepared, prompts: Prompts, key: str) -> Section | None:
    """The words nearest to each context vector; None of a method without any.

    Args:
        run: a finished run, from `reopening.reopen`.
        prompts: what it trained.
        key: of the test set, which changes nothing here.
    """
    del key
    context = shallow_context(run, prompts)
    if context is None:
        return None
    table = np.asarray(run.backbone.frozen["text"]["token_embedding"], np.float32)
    names = run.plan.train.class_names if context.ndim == 3 else ("",)
    contexts = context if context.ndim == 3 else context[None]
    rows = [
        (f"{name}, {number}" if name else str(number), *nearest_words(vector, table))
        for name, vectors in list(zip(names, contexts, strict=True))[:CLASSES]
        for number, vector in enumerate(vectors, 1)
    ]
    said = (
        "The tokens of CLIP's vocabulary whose embeddings are nearest to each learned vector, with "
        "their distances (Euclidean). A piece that only begins a word, or stands inside one, ends "
        "in “-”. Near is not alike: vectors are often far from all words."
    )
    if context.ndim == 3 and len(names) > CLASSES:
        said += f" Each class has a context of its own; shown are the first {CLASSES} classes."
    said += f" {_SHIFTED[run.config.method]}" if run.config.method in _SHIFTED else ""
    if run.config.method in _DEEP:
        said += " Prompts of deeper layers are left out: they are no embeddings of words."
    headers = ("vector", *(f"nearest {number}" for number in range(1, NEAREST + 1)))
    caption = "Nearest words and their distances"
    return Section("Words near the context", [Text(said), Table(headers, rows, caption)])


def shallow_context(run: Prepared, prompts: Prompts) -> np.ndarray | None:
    """What stands among the embedded words, float32[M, d_l], or [K, M, d_l] of K classes.

    None where nothing does: methods without text prompts, and methods of videos.
    """
    if run.plan.train.kind != "images":
        return None
    if "context" in prompts:
        return np.asarray(prompts["context"], np.float32)
    # IVLP's and PromptSRC's, a row per layer: the first enters beside the words.
    return np.asarray(prompts["text"][0], np.float32) if "text" in prompts else None


def nearest_words(vector: np.ndarray, table: np.ndarray, number: int = NEAREST) -> Sequence[str]:
    """The words nearest to float32[d_l] among embeddings float32[V, d_l], e.g. "photo 0.31"."""
    # Not by squares and products, which lose the digits of a vector that is nearly a word.
    distances = np.linalg.norm(table - vector, axis=1)
    nearest = np.argsort(distances, kind="stable")[:number]
    return [f"{spell(int(token))} {distances[token]:.3f}" for token in nearest]


def spell(token: int) -> str:
    """A token's text; "-" stands behind one that another may follow within the word."""
    stop = "."
    # The decoder ends words by a space, and `decode` takes that of the last one away.
    text = tokenizer.decode([token, *tokenizer.encode(stop)]).removesuffix(stop)
    ends = token in (tokenizer.SOS, tokenizer.EOT) or text.endswith(" ")
    # Some tokens are control characters, or a part of one that takes several bytes.
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.strip())
    return shown + ("" if ends else "-")
