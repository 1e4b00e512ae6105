"""Checks that a checkpoint's vocabulary is CLIP's, by its size and the tokenizer files beside it.

Texts are tokenized with CLIP's vocabulary only. Tokens added to it have higher ids and are never
used; in any other vocabulary the ids have other meanings.
"""

import functools
import itertools
from pathlib import Path
from typing import Annotated, Any

import pydantic

from prompt_jax.clip.checkpoints.checkpoint_config import LARGEST, shown
from prompt_jax.clip.config import VOCABULARY
from prompt_jax.clip.vocabulary import bpe
from prompt_jax.errors import PromptError
from prompt_jax.storage import files

NAMES = ("tokenizer.json", "vocab.json", "merges.txt")
# Files of other tokenizers.
_OTHERS = ("vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_ARGMAX = 2  # eos_token_id in OpenAI's config.json: transformers then pools at the highest id
_MOST_BYTES = 32 * 2**20  # CLIP's tokenizer.json has 4 MB

_Id = Annotated[int, pydantic.Field(strict=True, ge=0, le=LARGEST)]


class _Added(pydantic.BaseModel):
    id: _Id
    content: str


class _Model(pydantic.BaseModel):
    type: str = "BPE"
    vocab: dict[str, _Id]
    merges: list[str | tuple[str, str]]
    end_of_word_suffix: str | None = None


class _Vocabulary(pydantic.RootModel[dict[str, _Id]]):
    """A vocab.json."""


class _Tokenizer(pydantic.BaseModel):
    """The fields of a tokenizer.json that map texts to ids."""

    added_tokens: list[_Added] = []
    model: _Model


def check_rows(rows: int) -> None:
    """Raises PromptError if there are fewer token embeddings than tokens in CLIP's vocabulary."""
    if rows < VOCABULARY:
        raise PromptError(
            f"its vocabulary has {rows:,} tokens, CLIP's has {VOCABULARY:,}: it was trained with"
            " another tokenizer, which is not supported"
        )


def check(rows: int, folder: Path, config: str, eos: int | None = None) -> tuple[str, ...]:
    """Rejects a vocabulary that is not CLIP's, possibly with tokens added after it.

    Args:
        rows: number of token embeddings.
        folder: directory that may hold the tokenizer's files.
        config: name of the config file that declares the vocabulary's size; "" if none does.
        eos: the eos_token_id of config.json, where transformers pools text features; None for
            other layouts.

    Returns:
        a note if there are added tokens, else nothing.

    Raises:
        PromptError: the vocabulary is another one, or no file shows that it is CLIP's.
    """
    check_rows(rows)
    if eos not in (None, _ARGMAX, VOCABULARY - 1):
        raise PromptError(
            f"config.json: text_config.eos_token_id={eos} must be CLIP's end of text,"
            f" {VOCABULARY - 1:,}, where text features are pooled"
        )
    file = compare(folder)
    if rows == VOCABULARY:
        return ()
    # With `_ARGMAX`, features would be pooled at an added token, which has a higher id than EOT.
    file = file or (config if eos != _ARGMAX else "")
    if not file:
        raise PromptError(
            f"its vocabulary has {rows:,} tokens, {rows - VOCABULARY:,} more than CLIP's, and no"
            " file shows that the first of them are CLIP's; put its tokenizer.json, or vocab.json"
            " and merges.txt, beside the weights in a directory with config.json or"
            " open_clip_config.json"
        )
    return (
        f"vocabulary: the first {VOCABULARY:,} of its {rows:,} tokens are CLIP's according to"
        f" {file}; the others are never used",
    )


def compare(folder: Path) -> str:
    """Returns the name of a tokenizer file in a directory that is CLIP's; "" if there is none.

    Raises:
        PromptError: a file belongs to another tokenizer, or cannot be read.
    """
    present = [name for name in NAMES if (folder / name).is_file()]
    for name in present:
        try:
            difference = _READERS[name](folder / name)
        except (OSError, ValueError) as error:
            raise PromptError(f"{name} cannot be read as a tokenizer file: {error}") from None
        if difference:
            raise PromptError(f"{name} belongs to another tokenizer than CLIP's: {difference}")
    if not present:
        others = [name for name in _OTHERS if (folder / name).is_file()]
        if others:
            raise PromptError(
                f"{others[0]} beside the weights belongs to another tokenizer than CLIP's, which"
                " has vocab.json and merges.txt, or tokenizer.json"
            )
    return present[0] if present else ""


def _differs_tokenizer(path: Path) -> str:
    content = files.read_json(path, _MOST_BYTES)
    model = content.get("model") if isinstance(content, dict) else None
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if kind != "BPE":
        return f"its model is {shown(kind)}, not 'BPE'"
    found = files.check(content, _Tokenizer)
    if found.model.end_of_word_suffix != bpe.WORD_END:
        return f"words end with {shown(found.model.end_of_word_suffix)}, not {bpe.WORD_END!r}"
    added = {token.content: token.id for token in found.added_tokens}
    pairs = [
        tuple(pair.split(" ")) if isinstance(pair, str) else pair for pair in found.model.merges
    ]
    return _differs_pieces(found.model.vocab | added) or _differs_merges(pairs)


def _differs_vocabulary(path: Path) -> str:
    return _differs_pieces(files.check(files.read_json(path, _MOST_BYTES), _Vocabulary).root)


def _differs_merges_file(path: Path) -> str:
    lines = files.read_bytes(path, _MOST_BYTES).decode("utf-8").splitlines()
    lines = lines[1:] if lines[:1] and lines[0].startswith("#version") else lines
    # Like transformers: further lines are ignored.
    return _differs_merges([tuple(line.split(" ")) for line in lines if line][: bpe.MERGES])


_READERS = {
    "tokenizer.json": _differs_tokenizer,
    "vocab.json": _differs_vocabulary,
    "merges.txt": _differs_merges_file,
}


@functools.cache
def _own() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Returns the ids of CLIP's pieces, and its merges."""
    merges = bpe.read_merges()
    return bpe.number_pieces(merges), merges


def _differs_pieces(vocabulary: dict[str, int]) -> str:
    """Returns a description of the first token that is not CLIP's; "" if all are."""
    theirs = {number: token for token, number in vocabulary.items() if number < VOCABULARY}
    for token, number in _own()[0].items():
        if vocabulary.get(token) != number:
            return f"its token {number} is {shown(theirs.get(number))}, CLIP's is {shown(token)}"
    return ""


def _differs_merges(pairs: list[Any]) -> str:
    for number, (theirs, ours) in enumerate(itertools.zip_longest(pairs, _own()[1]), 1):
        if theirs != ours:
            return f"its merge {number} is {shown(theirs)}, CLIP's is {shown(ours)}"
    return ""
