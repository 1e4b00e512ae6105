"""Cleans and splits texts into words before CLIP's byte-pair encoding. Imports no JAX.

OpenAI's `simple_tokenizer` cleans texts with ftfy. This module implements the steps that matter
for class names and captions; it does not repair texts that were decoded with the wrong encoding
("Ã©" for "é").
"""

import html
import re
import unicodedata

_TERMINAL_ESCAPES = re.compile(r"\x1b\[[\d;]*[a-zA-Z]")
_CONTROLS = [*range(9), 11, *range(14, 32), 127, *range(0x206A, 0x2070), 0xFEFF]
_CONTROLS += range(0xFFF9, 0xFFFD)
# Ligatures, digraphs and full- or half-width forms, replaced by their compatibility forms. NFKC on
# the whole text would change too much: OpenAI's tokenizer distinguishes "²" from "2".
_COMPATIBILITY = [0x132, 0x133, 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4)]
_COMPATIBILITY += [*range(0xFB00, 0xFB07), 0x3000, *range(0xFF01, 0xFFF0)]
_TRANSLATION: dict[int, str | None] = {
    **dict.fromkeys(_CONTROLS),
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in _COMPATIBILITY},
    **dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}
_ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def clean(text: str) -> str:
    """Returns a text cleaned like OpenAI's tokenizer does before it splits it into words.

    The result is in lower case and NFC, with single spaces and plain quotation marks; HTML entities
    are replaced by their characters.
    """
    # Twice, as in OpenAI's code: captions from the web contain "&amp;lt;".
    text = html.unescape(html.unescape(text))
    text = _TERMINAL_ESCAPES.sub("", text).translate(_TRANSLATION)
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def split(text: str) -> list[str]:
    """Splits a clean text into words, the units of the byte-pair encoding.

    A word is a run of letters, one digit, an ending such as "'s", or a run of other characters.
    Implements OpenAI's pattern without the `regex` package:
    's|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+
    """
    return [word for part in text.split() for word in _words(part)]


def _words(part):
    start = 0
    while start < len(part):
        kind = _kind(part[start])
        end = start + 1
        if ending := next((e for e in _ENDINGS if part.startswith(e, start)), ""):
            end = start + len(ending)
        elif kind != "N":
            while end < len(part) and _kind(part[end]) == kind:
                end += 1
        yield part[start:end]
        start = end


def _kind(character):
    """Returns "L" for a letter, "N" for a digit or another number, else ""."""
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else ""
