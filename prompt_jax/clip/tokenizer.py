"""CLIP's tokenizer: lower-cased byte-pair encoding with a vocabulary of 49408 tokens.

The encoding is in `prompt_jax.clip.vocabulary.bpe`, the cleaning of texts in
`prompt_jax.text.texts`.
"""

import re
from collections.abc import Sequence

import numpy as np

from prompt_jax.clip.vocabulary import bpe
from prompt_jax.errors import PromptError
from prompt_jax.text.texts import clean

SOS = 49406
EOT = 49407
LONGEST = 10_000  # characters, far more than 77 tokens; encoding a word takes quadratic time

_MARKERS = re.compile(r"<\|(?:startoftext|endoftext)\|>", re.IGNORECASE)


def encode(text: str) -> list[int]:
    """Returns the token ids of a text, without SOS and EOT.

    Raises:
        PromptError: the text is not a string, contains one of CLIP's markers, has more than
            `LONGEST` characters, or cannot be encoded.
    """
    if not isinstance(text, str):
        raise PromptError(f"a text must be a string, not {type(text).__name__}: {text!r}")
    cleaned = clean(text)
    if marker := _MARKERS.search(cleaned):
        raise PromptError(f"text {_shown(text)} contains CLIP's marker {marker[0]}; remove it")
    if len(cleaned) > LONGEST:
        raise PromptError(f"text {_shown(text)} has {len(cleaned)} characters; shorten it")
    try:
        return bpe.encode(cleaned)
    except UnicodeEncodeError:
        raise PromptError(
            f"text {_shown(text)} contains half of a surrogate pair; remove it"
        ) from None


def decode(ids: Sequence[int]) -> str:
    """Returns the text of token ids: lower case, with spaces around punctuation."""
    return bpe.decode(ids).strip()


def tokenize(texts: Sequence[str], length: int = 77) -> np.ndarray:
    """Returns [SOS] text [EOT] for every text, padded with zeros.

    Args:
        texts: N texts.
        length: tokens per row, including SOS and EOT.

    Returns:
        int32[N, length].

    Raises:
        PromptError: `texts` is a string, or a text does not fit.
    """
    if isinstance(texts, str):
        raise PromptError(f"texts must be a list of strings; write [{texts!r}]")
    tokens = np.zeros((len(texts), length), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        ids = [SOS, *encode(text), EOT]
        if len(ids) > length:
            raise PromptError(
                f"text {_shown(text)} takes {len(ids)} tokens with SOS and EOT; at most {length}"
                " fit: shorten it"
            )
        row[: len(ids)] = ids
    return tokens


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
