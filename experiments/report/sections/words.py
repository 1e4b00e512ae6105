"""Nearest words of learned context vectors, as in a table of CoOp (IJCV 2022)."""

from collections.abc import Sequence

import numpy as np

from experiments.report.blocks import Section, Table, Text
from experiments.setup.preparation import Prepared
from prompt_jax import methods
from prompt_jax.clip import tokenizer
from prompt_jax.methods import Prompts

NEAREST = 5  # words per vector
CLASSES = 5  # classes that are shown, if each has a context


def section(run: Prepared, prompts: Prompts, key: str) -> Section | None:
    """Returns the words nearest to each context vector; None for a method without any.

    Args:
        run: a finished run, from `reopening.reopen`.
        prompts: its trained prompts.
        key: of the test set; not used.
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
    text = (
        "The tokens of CLIP's vocabulary whose embeddings are nearest to each learned vector, with "
        "Euclidean distances. A token that does not end a word is shown with “-”. The nearest word "
        "need not have the meaning of a vector: vectors are often far from all words."
    )
    if context.ndim == 3 and len(names) > CLASSES:
        text += f" Each class has its own context; the first {CLASSES} classes are shown."
    record = methods.find_record(run.config.method, "images")
    if record and record.context:
        text += f" {record.context}"
    headers = ("vector", *(f"nearest {number}" for number in range(1, NEAREST + 1)))
    caption = "Nearest words and their distances"
    return Section("Words nearest to the context", [Text(text), Table(headers, rows, caption)])


def shallow_context(run: Prepared, prompts: Prompts) -> np.ndarray | None:
    """Returns the context at the text input, float32[M, d_l], or [K, M, d_l] for K classes.

    None for methods without text prompts, and for methods of videos.
    """
    if run.plan.train.kind != "images":
        return None
    if "context" in prompts:
        return np.asarray(prompts["context"], np.float32)
    # IVLP and PromptSRC have prompts per layer; the first is the input.
    return np.asarray(prompts["text"][0], np.float32) if "text" in prompts else None


def nearest_words(vector: np.ndarray, table: np.ndarray, number: int = NEAREST) -> Sequence[str]:
    """Returns the words nearest to float32[d_l] in embeddings float32[V, d_l]: "photo 0.31"."""
    # Not by |a|² - 2ab + |b|², which loses the digits of small distances.
    distances = np.linalg.norm(table - vector, axis=1)
    nearest = np.argsort(distances, kind="stable")[:number]
    return [f"{spell(int(token))} {distances[token]:.3f}" for token in nearest]


def spell(token: int) -> str:
    """Returns the text of a token, with "-" if it does not end a word."""
    stop = "."
    # The decoder puts a space after each word, and `decode` strips the last one.
    text = tokenizer.decode([token, *tokenizer.encode(stop)]).removesuffix(stop)
    ends = token in (tokenizer.SOS, tokenizer.EOT) or text.endswith(" ")
    # Some tokens are control characters, or a part of a character of several bytes.
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.strip())
    return shown + ("" if ends else "-")
