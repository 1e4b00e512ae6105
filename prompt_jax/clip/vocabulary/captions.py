"""Tokenizes captions and truncates those that do not fit the text tower."""

from collections.abc import Sequence
from typing import NamedTuple

from prompt_jax.clip import tokenizer
from prompt_jax.errors import PromptError


class Captions(NamedTuple):
    """N tokenized captions, the input of `packing.pack_captions`.

    Attributes:
        tokens: token ids of each caption with EOT, without the shared SOS.
        cut: indices of the truncated captions.
    """

    tokens: list[list[int]]
    cut: list[int]


def tokenize_captions(
    captions: Sequence[str], text_prompts: int = 0, context_length: int = 77
) -> Captions:
    """Tokenizes captions and truncates them to the slots that prompts leave free.

    A truncated caption keeps its first `context_length` - 1 - `text_prompts` tokens including SOS,
    followed by EOT (as in VoP's released code).

    Args:
        captions: N texts.
        text_prompts: slots of the text tower that prompts occupy, see `Encoders.text_prompts`.
        context_length: slots of the text tower.

    Raises:
        PromptError: the prompts leave no slot for a word, or a caption cannot be tokenized.
    """
    room = context_length - text_prompts - 2  # SOS and EOT
    if room < 1:
        raise PromptError(
            f"text_prompts={text_prompts} leaves no slot for a word: the text tower has "
            f"{context_length}, SOS and EOT take two; use {context_length - 3} prompts or fewer"
        )
    words = [tokenizer.encode(caption) for caption in captions]
    cut = [number for number, row in enumerate(words) if len(row) > room]
    return Captions([[*row[:room], tokenizer.EOT] for row in words], cut)
