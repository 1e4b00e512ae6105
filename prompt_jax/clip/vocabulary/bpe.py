"""CLIP's byte-pair encoding with the published merges (vocabulary/README.md), using `tokenizers`.

Texts must be cleaned first, see `prompt_jax.text.texts`.
"""

import functools
import gzip
import itertools
from collections.abc import Sequence
from importlib import resources

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

MERGES = 48894  # CLIP uses the first of the published 262,145
MARKERS = ("<|startoftext|>", "<|endoftext|>")  # the last two of 49,408 ids
WORD_END = "</w>"
# OpenAI's pattern, for texts in lower case.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def encode(text: str) -> list[int]:
    """Returns the token ids of a text in lower case, without SOS and EOT.

    Raises:
        UnicodeEncodeError: the text holds half of a surrogate pair.
    """
    text.encode()  # the error of `tokenizers` would be misleading
    return _tokenizer().encode(text, add_special_tokens=False).ids


def decode(ids: Sequence[int]) -> str:
    """Returns the text of token ids, with a space after every word.

    Bytes that are not UTF-8 become U+FFFD.

    Raises:
        ValueError: an id is not in the vocabulary.
    """
    size = _tokenizer().get_vocab_size()
    if unknown := [token for token in ids if not 0 <= token < size]:
        raise ValueError(f"token ids {unknown[:5]} are not in CLIP's vocabulary: 0 to {size - 1}")
    text = _tokenizer().decode([int(token) for token in ids], skip_special_tokens=False)
    return text.replace(WORD_END, " ")


def read_merges() -> list[tuple[str, str]]:
    """Returns the pairs of pieces that CLIP merges, by rank, in OpenAI's spelling of bytes."""
    file = resources.files(__package__) / "bpe_simple_vocab_16e6.txt.gz"
    with file.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as lines:
        # The first line is the version.
        pairs = [line.split() for line in itertools.islice(lines, 1, MERGES + 1)]
    return [(first, second) for first, second in pairs]


def number_pieces(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Returns the id of each piece in OpenAI's order.

    Single bytes come first, then bytes that end a word, merged pieces by rank, and the markers.
    """
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*characters, *(character + WORD_END for character in characters)]
    pieces += ["".join(merge) for merge in merges]
    return {piece: number for number, piece in enumerate([*pieces, *MARKERS])}


@functools.cache
def _tokenizer() -> tokenizers.Tokenizer:
    merges = read_merges()
    model = models.BPE(number_pieces(merges), merges, end_of_word_suffix=WORD_END)
    bpe = tokenizers.Tokenizer(model)
    words = pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="removed", invert=True)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    bpe.decoder = decoders.ByteLevel()
    return bpe
