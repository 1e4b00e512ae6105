"""Reads and writes the class names of a reference checkpoint, stored as embedded tokens.

token_prefix float[K, 1, d_l] is SOS; token_suffix float[K, 77 - 1 - M, d_l] holds the tokens after
the M context vectors: MaPLe's fixed words, the name, a full stop, EOT, zeros.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from prompt_jax.clip import tokenizer
from prompt_jax.errors import PromptError, shorten
from prompt_jax.text.class_names import fill

# float16 has a relative error of 2^-11; embeddings of two tokens differ a hundred times as much.
_RELATIVE, _ABSOLUTE = 2.0**-10, 1e-6
_ROWS = 256  # embeddings looked up at once


def tokens_after(names: Sequence[str], context: int, words: str, slots: int) -> np.ndarray:
    """Returns each class's token ids after the context, int32[K, slots - 1 - context].

    Args:
        names: K class names; underscores become spaces.
        context: number of context vectors M.
        words: before the name; the context replaces their first M tokens.
        slots: of the text tower.

    Raises:
        PromptError: a class does not fit.
    """
    fixed = tokenizer.encode(words)[context:]
    rows = np.zeros((len(names), max(slots - 1 - context, 0)), np.int32)
    for row, name in zip(rows, names, strict=True):
        own = tokenizer.encode(fill("{}.", name))
        tokens = [*fixed, *own, tokenizer.EOT]
        if len(tokens) > len(row):
            raise PromptError(
                f"the text of class {shorten(name)} takes {1 + context + len(tokens)} tokens; "
                f"the text tower has {slots}: shorten the name"
            )
        row[: len(tokens)] = tokens
    return rows


def embed(tokens: np.ndarray, table: np.ndarray) -> dict[str, np.ndarray]:
    """Returns token_prefix and token_suffix for token ids int[K, S] and embeddings [V, d_l]."""
    sos = np.broadcast_to(table[tokenizer.SOS], (len(tokens), 1, table.shape[1]))
    return {"token_prefix": np.array(sos), "token_suffix": table[tokens]}


def count(learner: Mapping[str, np.ndarray]) -> int | None:
    """Returns K from the arrays that have a row per class; None if there are none.

    Raises:
        PromptError: the arrays have different numbers of rows.
    """
    rows = {
        name: len(learner[name]) for name in ("token_prefix", "token_suffix") if name in learner
    }
    if learner["ctx"].ndim == 3:
        rows["ctx"] = len(learner["ctx"])
    if len(set(rows.values())) > 1:
        sizes = ", ".join(f"{name}: {number}" for name, number in rows.items())
        raise PromptError(f"it is damaged: its arrays differ in the number of classes ({sizes})")
    return next(iter(rows.values()), None)


def check_backbone(
    learner: Mapping[str, np.ndarray], table: np.ndarray, slots: int, backbone: str
) -> None:
    """Checks the embedded tokens, if there are any, against the backbone.

    Args:
        learner: the file's arrays; the width of ctx is already checked.
        table: float32[V, d_l], the backbone's token embeddings.
        slots: of its text tower.
        backbone: its name in error messages.

    Raises:
        PromptError: the shapes are wrong, or the embeddings are another backbone's.
    """
    length, width = learner["ctx"].shape[-2:]
    for name, expected in {"token_prefix": 1, "token_suffix": slots - 1 - length}.items():
        found = learner[name].shape[1:] if name in learner else (expected, width)
        if found != (expected, width):
            raise PromptError(
                f"it is damaged: its {name} has the shape [classes, {', '.join(map(str, found))}], "
                f"but its context requires [classes, {expected}, {width}]"
            )
    prefix = learner.get("token_prefix")
    if prefix is not None and not _are_close(prefix, table[tokenizer.SOS]).all():
        raise PromptError(
            f"its embedding of SOS is not that of {backbone}: it was trained on another CLIP of "
            "the same architecture"
        )


def matches(suffix: np.ndarray, tokens: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Returns for each class whether its suffix float[K, S, d_l] embeds int[K, S]; bool[K]."""
    return np.array([_are_close(a, table[b]).all() for a, b in zip(suffix, tokens, strict=True)])


def read_texts(suffix: np.ndarray, table: np.ndarray) -> list[str | None]:
    """Decodes embeddings float[K, S, d_l] up to EOT; None for embeddings that are not in `table`.

    The texts are in lower case, with spaces around punctuation, as the tokenizer decodes them.
    """
    is_end = _are_close(suffix, table[tokenizer.EOT]).all(axis=-1)
    words = [
        row[: end.argmax()] if end.any() else None for row, end in zip(suffix, is_end, strict=True)
    ]
    different = {token.tobytes(): token for row in words if row is not None for token in row}
    ids = dict(zip(different, _look_up(list(different.values()), table), strict=True))
    return [
        None if row is None else _decode([ids[token.tobytes()] for token in row]) for row in words
    ]


def names_in(texts: Sequence[str | None], context: int, words: str) -> list[str]:
    """Returns the class names in the texts of `read_texts`; "" for an undecoded text."""
    front = tokenizer.decode(tokenizer.encode(words)[context:])
    return [
        "" if text is None else text.removeprefix(front).removesuffix(".").strip() for text in texts
    ]


def _decode(ids):
    return None if None in ids else tokenizer.decode(ids)


def _look_up(embeddings, table):
    """Returns the token id of each embedding; None if there is no such token."""
    found: list[int | None] = []
    squares = np.einsum("vd,vd->v", table, table)
    for start in range(0, len(embeddings), _ROWS):
        some = np.stack(embeddings[start : start + _ROWS])
        nearest = np.argmin(squares - 2 * (some @ table.T), axis=1)
        close = _are_close(some, table[nearest]).all(axis=1)
        found += [int(n) if is_close else None for n, is_close in zip(nearest, close, strict=True)]
    return found


def _are_close(found, expected):
    return np.abs(found - expected) <= _RELATIVE * np.abs(expected) + _ABSOLUTE
