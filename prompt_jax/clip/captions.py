"""Token ids of captions: whatever is longer than the text tower is cut, and said to be."""

from collections.abc import Sequence
from typing import NamedTuple

from prompt_jax.clip import tokenizer
from prompt_jax.errors import PromptError


class Captions(NamedTuple):
    """N captions as `packing.pack_captions` takes them.

    Attributes:
        tokens: each caption's own token ids, EOT last; SOS, which all share, is left out.
        cut: which of them lost words because they were too long, from 0.
    """

    tokens: list[list[int]]
    cut: list[int]


def tokenize_captions(
    captions: Sequence[str], text_prompts: int = 0, context_length: int = 77
) -> Captions:
    """Token ids of captions, cut to the slots that prompts leave.

    A longer one keeps its first `context_length` - 1 - `text_prompts` tokens, SOS counted, and then
    ends with EOT, as VoP's released model has it.

    Args:
        captions: N texts.
        text_prompts: slots of the text tower that prompts take, see `Encoders.text_prompts`.
        context_length: slots of the text tower.

    Raises:
        PromptError: the prompts leave no slot for a word, or a text cannot be tokenized.
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
