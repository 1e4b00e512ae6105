"""CLIP's tokenizer: lower-cased byte-pair encoding with a vocabulary of 49408 tokens.

The vocabulary and the merges come from `instant-clip-tokenizer`. What OpenAI's `simple_tokenizer`
does to a text before that, it does with ftfy; the steps that real class names and captions meet are
done here. Left out: ftfy's guesses at text that was decoded with the wrong encoding ("Ã©" for "é").
"""

import functools
import html
import re
import unicodedata
from collections.abc import Sequence

import instant_clip_tokenizer
import numpy as np

from prompt_jax.errors import PromptError

SOS = 49406
EOT = 49407
LONGEST = 10_000  # characters, far more than 77 tokens hold; a word takes time by their square

_MARKERS = re.compile(r"<\|(?:startoftext|endoftext)\|>", re.IGNORECASE)
_TERMINAL_ESCAPES = re.compile(r"\x1b\[[\d;]*[a-zA-Z]")
_CONTROLS = [*range(9), 11, *range(14, 32), 127, *range(0x206A, 0x2070), 0xFEFF]
_CONTROLS += range(0xFFF9, 0xFFFD)
# Ligatures, digraphs and full or half width forms, which compatibility normalisation spells out.
# NFKC on the whole text would do too much: OpenAI's tokenizer keeps "²" apart from "2".
_COMPATIBILITY = [0x132, 0x133, 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4)]
_COMPATIBILITY += [*range(0xFB00, 0xFB07), 0x3000, *range(0xFF01, 0xFFF0)]
_TRANSLATION: dict[int, str | None] = {
    **dict.fromkeys(_CONTROLS),
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in _COMPATIBILITY},
    **dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}


def encode(text: str) -> list[int]:
    """Token ids of a text, without SOS and EOT.

    Raises:
        PromptError: the text is no string, spells out one of CLIP's markers, is longer than any
            text that fits, or cannot be encoded.
    """
    if not isinstance(text, str):
        raise PromptError(f"a text must be a string, not {type(text).__name__}: {text!r}")
    clean = _clean(text)
    if marker := _MARKERS.search(clean):
        raise PromptError(f"text {_shown(text)} holds CLIP's own marker {marker[0]}; remove it")
    if len(clean) > LONGEST:
        raise PromptError(f"text {_shown(text)} has {len(clean)} characters; shorten it")
    try:
        return _tokenizer().encode(clean)
    except UnicodeEncodeError:
        raise PromptError(
            f"text {_shown(text)} holds half of a surrogate pair; remove it"
        ) from None


def decode(ids: Sequence[int]) -> str:
    """The text of token ids without SOS and EOT: in lower case, with spaces around punctuation."""
    return _tokenizer().decode(list(ids)).strip()


def tokenize(texts: Sequence[str], length: int = 77) -> np.ndarray:
    """[SOS] text [EOT] for every text, padded with zeros.

    Args:
        texts: N texts.
        length: tokens per row, SOS and EOT counted.

    Returns:
        int32[N, length].

    Raises:
        PromptError: `texts` is one string, or a text does not fit.
    """
    if isinstance(texts, str):
        raise PromptError(f"texts must be a list of strings; write [{texts!r}]")
    tokens = np.zeros((len(texts), length), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        ids = [SOS, *encode(text), EOT]
        if len(ids) > length:
            raise PromptError(
                f"text {_shown(text)} takes {len(ids)} tokens with SOS and EOT; at most {length}"
                " fit. Shorten it"
            )
        row[: len(ids)] = ids
    return tokens


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")


@functools.cache
def _tokenizer() -> instant_clip_tokenizer.Tokenizer:
    return instant_clip_tokenizer.Tokenizer()


def _clean(text: str) -> str:
    """What OpenAI's tokenizer does before it splits a text into words."""
    # Twice, as there: captions from the web hold "&amp;lt;".
    text = html.unescape(html.unescape(text))
    text = _TERMINAL_ESCAPES.sub("", text).translate(_TRANSLATION)
    return " ".join(unicodedata.normalize("NFC", text).lower().split())
